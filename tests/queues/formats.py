"""Literal replies of beanstalkd 1.8 to master: what was added, and what is quoted since when."""

_COUNTERS = """\
---
current-jobs-urgent: 1
current-jobs-ready: 7
current-jobs-reserved: 2
current-jobs-delayed: 0
current-jobs-buried: 3
cmd-put: 4720
cmd-peek: 0
cmd-peek-ready: 5
cmd-peek-delayed: 0
cmd-peek-buried: 5
cmd-reserve: 4000
cmd-reserve-with-timeout: 0
cmd-delete: 4699
cmd-release: 12
cmd-use: 9
cmd-watch: 4
cmd-ignore: 4
cmd-bury: 3
cmd-kick: 0
cmd-touch: 44
cmd-stats: 100
cmd-stats-job: 10
cmd-stats-tube: 200
cmd-list-tubes: 100
cmd-list-tube-used: 0
cmd-list-tubes-watched: 0
cmd-pause-tube: 0
job-timeouts: 1
total-jobs: 4711
max-job-size: 65535
current-tubes: 3
current-connections: 6
current-producers: 1
current-workers: 4
current-waiting: 2
total-connections: 321
pid: 815
"""
_USAGE = """\
rusage-utime: 12.003456
rusage-stime: 3.100000
uptime: 86400
binlog-oldest-index: 3
binlog-current-index: 5
binlog-records-migrated: 0
binlog-records-written: 9412
binlog-max-size: 10485760
"""
_ID = "id: 0000000000000042\n"

SERVERS = {
    version: (_COUNTERS + rest).encode()
    for version, rest in {
        "1.8": f"version: 1.8\n{_USAGE}",
        "1.10": f"version: 1.10\n{_USAGE}{_ID}hostname: 127\n",
        "1.11": f'version: "1.11"\n{_USAGE}{_ID}hostname: 127\n',
        "1.12": (
            f'version: "1.12"\n{_USAGE}draining: true\n{_ID}'
            "hostname: 127\nos: #1 SMP Debian 6.1.0: 13\nplatform: x86_64\n"
        ),
        "1.13+": (
            f'version: "1.13"\n{_USAGE}draining: true\n{_ID}'
            'hostname: "127"\nos: "#1 SMP Debian 6.1.0: 13"\nplatform: "x86_64"\n'
        ),
    }.items()
}

_TUBE = """\
---
name: {name}
current-jobs-urgent: 1
current-jobs-ready: 7
current-jobs-reserved: 2
current-jobs-delayed: 0
current-jobs-buried: 3
total-jobs: 52
current-using: 1
current-watching: 4
current-waiting: 2
cmd-delete: 40
cmd-pause-tube: 1
pause: 60
pause-time-left: 59
"""
TUBES = {
    "1.8 to 1.12": _TUBE.format(name="1_000").encode(),
    "1.13+": _TUBE.format(name='"1_000"').encode(),
}

LISTS = {
    "1.8 to 1.12": b"---\n- default\n- 1_000\n- true\n",
    "1.13+": b'---\n- "default"\n- "1_000"\n- "true"\n',
}

JOB_1_12 = b"""\
---
id: 12
tube: true
state: buried
pri: 0
age: 90000
delay: 0
ttr: 10
time-left: 0
file: 0
reserves: 2
timeouts: 0
releases: 1
buries: 1
kicks: 0
"""
