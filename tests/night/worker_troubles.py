"""Troubles of workers: killed, frozen, stopped, and deploys that break."""

import signal

from tests.night.acts import (
    beanwatch,
    break_app,
    each,
    kill,
    mend_app,
    nothing,
    put,
    refused,
    send,
    start,
    stop,
)
from tests.night.trouble import (
    Trouble,
    critical,
    dead,
    frozen,
    of_worker,
    ok,
    ok_after_restart,
    parts,
    restarted,
    warning,
)

WORKER_TROUBLES = [
    Trouble(
        "an idle worker is killed and stays dead",
        parts("biller"),
        kill("biller"),
        (dead("biller"),),
        start("biller"),
        (restarted("biller", "killed while idle"), ok_after_restart(of_worker("biller"))),
    ),
    Trouble(
        "a worker is killed while jobs wait",
        parts("biller", "bills"),
        each(kill("biller"), put("queue2", "bills", "email.send", 3)),
        (
            dead("biller"),
            critical("queue2 / consumers of bills", "bills: 3 jobs ready and no consumer watches"),
        ),
        start("biller"),
        (
            restarted("biller", "killed while idle"),
            ok_after_restart(of_worker("biller")),
            ok("queue2 / consumers of bills"),
        ),
    ),
    Trouble(
        "a worker freezes",
        parts("mailer"),
        send("mailer", signal.SIGSTOP),
        (frozen("mailer"),),
        send("mailer", signal.SIGCONT),
        (ok(of_worker("mailer")),),
    ),
    Trouble(
        "a worker crashes and is restarted at once",
        parts("maker"),
        send("maker", signal.SIGKILL),
        (restarted("maker", "killed while idle"),),
        nothing,
        (ok_after_restart(of_worker("maker")),),
    ),
    Trouble(
        "a deploy breaks: the worker refuses to restart, and runs on",
        parts("mailer"),
        each(break_app("mailer"), refused("workers", "restart", "web1.mailer")),
        (warning(of_worker("mailer"), "did not restart as told, runs on: .*nobody_installed"),),
        each(mend_app("mailer"), beanwatch("workers", "restart", "web1.mailer")),
        (ok(of_worker("mailer"), seconds=10),),
        is_short=True,
    ),
    Trouble(
        "a deploy breaks, and the worker must start",
        parts("biller"),
        each(break_app("biller"), stop("biller"), start("biller")),
        (critical(of_worker("biller"), r"web1\.biller: cannot start: .*nobody_installed"),),
        each(mend_app("biller"), stop("biller"), start("biller")),
        (ok(of_worker("biller"), minutes=12.5),),
    ),
    Trouble(
        "a worker is restarted on purpose: nobody is woken",
        parts("mailer"),
        beanwatch("workers", "restart", "web1.mailer"),
        (),
        nothing,
    ),
    Trouble(
        "a worker is stopped and nobody starts it again",
        parts("mailer"),
        beanwatch("workers", "stop", "web1.mailer"),
        (critical(of_worker("mailer"), r"web1\.mailer: ended .*not started again", seconds=15),),
        start("mailer"),
        (ok(of_worker("mailer"), seconds=10),),
    ),
]
