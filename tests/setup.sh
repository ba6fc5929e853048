#!/bin/sh
# Installs the parts that `make setup` names, each with one line of progress.
set -eu

PYTHON=${PYTHON:-python3}
SBIN_PATH=$PATH:/usr/sbin:/sbin:/usr/lib/nagios/plugins

# What to look for, and the Debian package that brings it.
found() {
    case $1 in
        monitoring-plugins) test -x /usr/lib/nagios/plugins/check_dummy ;;
        font) test -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ;;
        cairo) ldconfig=$(PATH=$SBIN_PATH command -v ldconfig) && "$ldconfig" -p | grep -q 'libcairo\.so\.2' ;;
        rabbitmq) test -x /usr/lib/rabbitmq/bin/rabbitmq-server ;;
        postgresql) ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ;;
        illuminate-queue) test -e /usr/share/php/Illuminate/Queue/autoload.php ;;
        illuminate-worker) test -e /usr/share/php/Illuminate/Bus/autoload.php &&
            test -e /usr/share/php/Illuminate/Events/autoload.php ;;
        pheanstalk) test -e /usr/share/php/Pheanstalk/autoload.php ;;
        predis) test -e /usr/share/php/Predis/autoload.php ;;
        monolog) test -e /usr/share/php/Monolog/autoload.php ;;
        venv) "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ;;
        *) PATH=$SBIN_PATH command -v "$1" >/dev/null ;;
    esac
}

packages() {
    case $1 in
        nagios4) echo nagios4-core ;;
        monitoring-plugins) echo monitoring-plugins-basic ;;
        font) echo fonts-dejavu-core ;;
        cairo) echo libcairo2 ;;
        venv) echo python3-venv ;;
        nrpe) echo nagios-nrpe-server ;;
        check_nrpe) echo nagios-nrpe-plugin ;;
        send_nsca) echo nsca-client ;;
        icinga2) echo icinga2-bin icinga2-common ;;
        stunnel) echo stunnel4 ;;
        npm) echo nodejs npm ;;
        rabbitmq) echo rabbitmq-server ;;
        gearmand) echo gearman-job-server ;;
        cc) echo gcc libc6-dev ;;
        systemd-notify) echo systemd ;;
        gearadmin) echo gearman-tools ;;
        mariadbd) echo mariadb-server ;;
        sidekiq) echo ruby-sidekiq ;;
        php) echo php-cli php-redis php-mysql php-pgsql ;;
        illuminate-queue) echo php-illuminate-queue ;;
        illuminate-worker) echo php-illuminate-bus php-illuminate-events ;;
        pheanstalk) echo php-pda-pheanstalk ;;
        ip) echo iproute2 ;;
        systemd-nspawn) echo systemd-container ;;
        predis) echo php-nrk-predis ;;
        monolog) echo php-monolog ;;
        *) echo "$1" ;;
    esac
}

fail() {
    echo "setup: $1" >&2
    exit 1
}

# step "what it does" COMMAND...: quiet unless it fails, then the end of what it said.
step() {
    title=$1
    shift
    printf 'setup: %s ... ' "$title"
    log=$(mktemp)
    started=$(date +%s)
    if "$@" >"$log" 2>&1 </dev/null; then
        echo "done in $(($(date +%s) - started)) s"
        rm -f "$log"
    else
        echo "failed:"
        tail -n 25 "$log" >&2
        rm -f "$log"
        exit 1
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
}

debian() {
    missing=
    for name in "$@"; do
        found "$name" || missing="$missing $(packages "$name")"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null ||
        fail "missing, and there is no apt-get to install it:$missing (names of Debian packages)"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        fail "missing:$missing; as root, run: apt-get install --no-install-recommends$missing"
    if [ "$(id -u)" != 0 ]; then sudo -v || fail "missing:$missing; sudo was refused"; fi

    # Debian starts a service when it installs one; this host asked for the programs only.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'as_root rm -f $policy' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
    fi
    step "list of Debian packages" as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of package names
    step "Debian packages:$missing" apt_install $missing
}

python_at_least_3_11() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "$PYTHON is not Python 3.11 or newer; name one: make PYTHON=/path/to/python3 ..."
}

install_venv() {
    "$PYTHON" -m venv "$1"
    "$1/bin/pip" install --quiet --upgrade 'pip>=25.1' # the first that knows --group
    extras='.[mysql,postgresql,sqs,web]'
    "$1/bin/pip" install --quiet --editable "$extras" --group dev
    if [ -n "${LOWEST:-}" ]; then # of each dependency, the lowest version that pyproject.toml allows
        "$1/bin/uv" pip install --quiet --python "$1/bin/python" --upgrade \
            --resolution lowest-direct --editable "$extras"
    fi
}

# Graphite 1.1.10 does not run on a Python newer than 3.11.
python_3_11() {
    for python in "$PYTHON" python3.11 /usr/bin/python3; do
        if "$python" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    fail "Graphite needs Python 3.11, which is not here (Debian 12: python3 and python3-venv)"
}

install_graphite() {
    "$2" -m venv "$1"
    "$1/bin/pip" install --quiet carbon==1.1.10 whisper==1.1.10 graphite-web==1.1.10 gunicorn
}

install_statsd() {
    npm install --prefix "$1" --omit=optional --no-audit --no-fund --no-update-notifier statsd@0.9.0
}

# The frameworks whose queues the tests fill, and Kubernetes' schema for the examples, in an
# environment of their own: beanwatch needs none.
install_frameworks() {
    "$PYTHON" -m venv "$1"
    "$1/bin/pip" install --quiet 'rq>=2' 'celery[redis]>=5' 'moto[server]' \
        'procrastinate' 'pgqueuer[psycopg]' 'psycopg[binary]' pymysql 'kubernetes-validate>=1.30'
}

# What drives Debian's Chromium, and what judges how accessible a page is.
install_browser() {
    "$2/bin/pip" install --quiet --group browser
    npm install --prefix "$1" --no-audit --no-fund --no-update-notifier axe-core@4.14.1
}

# A Debian with the release and the mirror of this host, and an environment of Python in $2 of it.
install_bare_root() {
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        "Codename: $release" | head -n 1)
    rm -rf "$1" "$1.part"
    mkdir -p "$(dirname "$1")"
    as_root mmdebstrap --variant=minbase --include="python3-venv${3:+ $3}" "$release" "$1.part" "$mirror"
    as_root chroot "$1.part" python3 -m venv "$2"
    mv "$1.part" "$1"
}

# What beanwatch needs, in the environment /opt/beanwatch of that Debian; the tests add the wheel.
install_in_root() {
    version=$(chroot "$1" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$2/bin/uv" pip install --quiet --python "$2/bin/python" --python-version "$version" \
        --target "$1/opt/beanwatch/lib/python$version/site-packages" -r pyproject.toml --extra web
    chroot "$1" /opt/beanwatch/bin/python -m compileall -q /opt/beanwatch
}

# The frameworks whose workers beanwatch watches: the lowest and the newest version of each, in an
# environment of its own. Beanwatch itself comes from the tree; only what it needs is installed.
install_adapters() {
    while read -r name packages; do
        [ -n "$name" ] || continue
        "$2/bin/uv" venv --quiet --clear --python "$2/bin/python" "$1/$name"
        # shellcheck disable=SC2086 # a list of packages
        "$2/bin/uv" pip install --quiet --python "$1/$name/bin/python" -r pyproject.toml $packages
    done <<END
rq-2 rq==2.0.0
rq-3 rq>=3
celery-5.0 celery==5.0.0 kombu[redis]
celery-5 celery[redis]>=5,<6
dramatiq-1 dramatiq[redis,rabbitmq]==1.15.0
dramatiq-2 dramatiq[redis,rabbitmq]>=2,<3
END
}

case ${1:-} in
    debian)
        shift
        debian "$@"
        ;;
    venv)
        python_at_least_3_11
        step "Python packages in $2" install_venv "$2"
        touch "$2/.installed"
        ;;
    graphite)
        python=$(python_3_11)
        step "carbon and graphite-web in $2" install_graphite "$2" "$python"
        touch "$2/.installed"
        ;;
    statsd)
        mkdir -p "$2"
        step "StatsD in $2" install_statsd "$2"
        touch "$2/.installed"
        ;;
    frameworks)
        step "queue frameworks in $2" install_frameworks "$2"
        touch "$2/.installed"
        ;;
    adapters)
        step "queue frameworks, lowest and newest, in $2" install_adapters "$2" "$3"
        touch "$2/.installed"
        ;;
    browser)
        mkdir -p "$2"
        step "driver of the browser in $3, axe in $2" install_browser "$2" "$3"
        touch "$2/.installed"
        ;;
    container)
        # Nothing but Python in /usr/local, as in the image python:3-slim.
        step "bare Debian root in $2" install_bare_root "$2" /usr/local
        ;;
    machine)
        # As a host on which somebody followed the docs, before he installs beanwatch.
        step "Debian with systemd in $2" install_bare_root "$2" /opt/beanwatch \
            "systemd systemd-sysv dbus beanstalkd redis-server nagios4-core monitoring-plugins-basic nsca-client"
        ;;
    machine-packages)
        step "Python packages in $2" install_in_root "$2" "$3"
        touch "$2/../.installed"
        ;;
    *)
        fail "usage: tests/setup.sh debian NAME...|venv DIR|graphite DIR|statsd DIR|frameworks DIR|adapters DIR VENV|browser DIR VENV|container DIR|machine DIR|machine-packages DIR VENV"
        ;;
esac
