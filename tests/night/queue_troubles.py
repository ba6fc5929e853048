"""Troubles of queues and their jobs: jobs fail, wait, or nobody takes them."""

from tests.night.acts import beanwatch, each, empty, forget_runs, nothing, put
from tests.night.trouble import (
    Trouble,
    critical,
    of_worker,
    ok,
    ok_after_restart,
    parts,
    restarted,
    warning,
)

IMAGES_FAIL = "queue1 / failures of images image.resize"
OTHERS_FAIL = "queue1 / other job failures"

QUEUE_TROUBLES = [
    Trouble(
        "a job hangs until the hard deadline",
        parts("maker", "images", "failures"),
        put("queue1", "images", "image.resize", hang=3600),
        (
            warning(of_worker("maker"), r"(restarted .*deadline|hung in image\.resize)", 15),
            warning("queue1 / buried of images", "images: 1 job buried", 15),
            warning(IMAGES_FAIL, "images image.resize: 1 timed out", 15),
        ),
        each(empty("queue1", "images", "buried"), forget_runs),
        (
            ok_after_restart(of_worker("maker")),
            ok("queue1 / buried of images"),
            ok(IMAGES_FAIL),
        ),
    ),
    Trouble(
        "jobs fail until they are buried",
        parts("email", "failures"),
        put("queue1", "email.bulk", "email.send", 3, fail=True),
        (warning("queue1 / buried of email.bulk", r"email\.bulk: \d jobs? buried", 15),),
        each(empty("queue1", "email.bulk", "buried"), forget_runs),
        (ok("queue1 / buried of email.bulk"),),
    ),
    Trouble(
        "nearly all jobs of a kind fail",
        parts("email", "failures"),
        # Without the runs of a busy hour shortly before.
        each(forget_runs, put("queue1", "email.bulk", "email.send", 20, fail=True)),
        (
            warning("queue1 / buried of email.bulk", r"email\.bulk: \d+ jobs? buried", 15),
            critical(OTHERS_FAIL, r"email\.bulk email\.send: \d+ of \d+ runs failed", 15),
        ),
        each(empty("queue1", "email.bulk", "buried"), forget_runs),
        (ok("queue1 / buried of email.bulk"), ok(OTHERS_FAIL)),
    ),
    Trouble(
        "a job kills its worker",
        parts("maker", "images", "failures"),
        put("queue1", "images", "image.convert"),
        (
            restarted("maker", "killed while running image", 15),
            warning("queue1 / buried of images", "images: 1 job buried", 15),
            warning(OTHERS_FAIL, "images image.convert: 1 poison", 15),
        ),
        each(empty("queue1", "images", "buried"), forget_runs),
        (
            ok_after_restart(of_worker("maker")),
            ok("queue1 / buried of images"),
            ok(OTHERS_FAIL),
        ),
    ),
    Trouble(
        "a queue without a consumer fills up",
        parts("newsletter"),
        put("queue1", "newsletter", "email.send", 50),
        (
            critical("queue1 / depth of newsletter", r"newsletter: 50 jobs ready \(limit 20\)"),
            critical("queue1 / consumers of newsletter", "50 jobs ready and no consumer watches"),
        ),
        empty("queue1", "newsletter"),
        (ok("queue1 / depth of newsletter"), ok("queue1 / consumers of newsletter")),
    ),
    Trouble(
        "a producer misspells its queue",
        parts("emial"),
        put("queue1", "emial.priority", "email.send"),
        (
            critical(
                "queue1 / consumers of other queues",
                r"emial\.priority: 1 job ready and no consumer watches it",
            ),
        ),
        empty("queue1", "emial.priority"),
        (ok("queue1 / consumers of other queues"),),
        is_short=True,
    ),
    Trouble(
        "a worker waits by order while jobs come",
        parts("biller", "bills"),
        each(beanwatch("workers", "wait", "web1.biller"), put("queue2", "bills", "email.send", 2)),
        (critical("queue2 / consumers of bills", r"bills: .*told to wait: web1\.biller"),),
        beanwatch("workers", "resume", "web1.biller"),
        (ok("queue2 / consumers of bills"),),
    ),
    Trouble(
        "the next job of a queue waits for too long",
        parts("maker", "reports"),
        each(beanwatch("workers", "wait", "web1.maker"), put("queue1", "reports", "report.build")),
        (
            critical("queue1 / age of reports", r"reports: .*\(limit 8", seconds=15),
            critical("queue1 / consumers of reports", r"reports: .*told to wait: web1\.maker"),
        ),
        beanwatch("workers", "resume", "web1.maker"),
        (ok("queue1 / age of reports"), ok("queue1 / consumers of reports")),
    ),
    Trouble(
        "a queue is paused on purpose: nobody is woken",
        parts("maker", "images"),
        each(
            beanwatch("queues", "pause", "images", "--server", "queue1", "--for", "1h", "--yes"),
            put("queue1", "images", "image.resize", 3),
        ),
        (),
        beanwatch("queues", "resume", "images", "--server", "queue1"),
    ),
    Trouble(
        "a busy hour that the workers master: nobody is woken",
        parts("email"),
        put("queue1", "email.bulk", "email.send", 200),
        (),
        nothing,
    ),
]
