<?php
// A worker that reports two jobs, and its progress: all that a program in PHP needs for that.
$socket = stream_socket_client('udg://' . getenv('NOTIFY_SOCKET'));
function notify(string ...$lines): void
{
    fwrite($GLOBALS['socket'], implode("\n", $lines));
}

notify('READY=1', 'STATUS=waits for jobs');
foreach (['php-1' => 'ok', 'php-2' => 'failed'] as $id => $outcome) {
    fgets(STDIN);
    notify('X_BEANWATCH_JOB=invoice.send', 'X_BEANWATCH_QUEUE=invoices', "X_BEANWATCH_ID=$id");
    notify("STATUS=page 3 of $id");
    fgets(STDIN);
    notify("X_BEANWATCH_DONE=$outcome", "X_BEANWATCH_ID=$id", "X_BEANWATCH_REASON=it ended $outcome");
}
fgets(STDIN);
