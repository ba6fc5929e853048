<?php

declare(strict_types=1);

namespace Beanwatch;

/** @internal what PHP knows of its process and its host */
final class Host
{
    private const FATAL = E_ERROR | E_PARSE | E_CORE_ERROR | E_COMPILE_ERROR | E_USER_ERROR | E_RECOVERABLE_ERROR;

    /** Return the time by a clock that nobody sets. */
    public static function now(): float
    {
        return hrtime(true) / 1e9;
    }

    /** Return the name of the host without its domain, as `beanwatch worker` does. */
    public static function shortName(): string
    {
        $name = (string) gethostname();
        return filter_var($name, FILTER_VALIDATE_IP) ? $name : explode('.', $name)[0];
    }

    /** Identify a process for ever, as boot/pid namespace/pid/start; '' if there is none */
    public static function identifyProcess(int $pid): string
    {
        $boot = @file_get_contents('/proc/sys/kernel/random/boot_id');
        $stat = @file_get_contents("/proc/$pid/stat");
        $namespace = @stat('/proc/self/ns/pid')['ino'] ?? '';
        if ($boot === false || $stat === false) {
            return '';
        }
        $fields = explode(' ', substr($stat, (int) strrpos($stat, ')') + 2));  // from the third one on
        return implode('/', [trim($boot), $namespace, $pid, $fields[19] ?? '']);
    }

    /** Return the memory of this process; null: not known. */
    public static function residentBytes(string $file = '/proc/self/status'): ?int
    {
        $isKnown = preg_match('/^VmRSS:\s*(\d+) kB$/m', (string) @file_get_contents($file), $found);
        return $isKnown ? (int) $found[1] * 1024 : null;
    }

    /** Return the processor time of this process. */
    public static function cpuSeconds(): float
    {
        $used = getrusage();
        $whole = $used['ru_utime.tv_sec'] + $used['ru_stime.tv_sec'];
        return $whole + ($used['ru_utime.tv_usec'] + $used['ru_stime.tv_usec']) / 1e6;
    }

    /** Return why the script ends, in a shutdown function: its fatal error, or that there was none. */
    public static function whyEnded(): string
    {
        $error = error_get_last();
        if ($error === null || !($error['type'] & self::FATAL)) {
            return 'the script ended, or called exit(), before Monitor::stop()';
        }
        $why = explode("\n", $error['message'], 2)[0];
        return str_starts_with($why, 'Uncaught ') ? $why : "$why in {$error['file']}:{$error['line']}";
    }

    /** Return the line that runs, as `file:line function`: that of the application, not of a library */
    public static function currentLine(): string
    {
        $innermost = '';
        $frames = debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, 50);
        foreach ($frames as $at => $frame) {
            $file = $frame['file'] ?? '';
            if ($file === '' || str_starts_with($file, __DIR__)) {
                continue;
            }
            $in = $frames[$at + 1] ?? ['function' => '{main}'];
            $line = "$file:{$frame['line']} " . ($in['class'] ?? '') . ($in['type'] ?? '') . $in['function'];
            if (!str_contains($file, '/vendor/') && !str_starts_with($file, '/usr/share/php/')) {
                return $line;
            }
            $innermost = $innermost ?: $line;
        }
        return $innermost;
    }
}
