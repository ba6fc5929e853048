"""The directories into which `beanwatch install` installs files."""

from collections.abc import Mapping

# The directory of each kind of file, on Debian and on Red Hat.
DIRECTORIES: Mapping[str, tuple[str, str]] = {
    "plugins": ("/usr/lib/nagios/plugins", "/usr/lib64/nagios/plugins"),
    "nagios": ("/etc/nagios4/conf.d", "/etc/nagios/conf.d"),
    "nrpe": ("/etc/nagios/nrpe.d", "/etc/nrpe.d"),
    "icinga2": ("/etc/icinga2/conf.d/beanwatch", "/etc/icinga2/conf.d/beanwatch"),
    "systemd": ("/etc/systemd/system", "/etc/systemd/system"),
    "supervisor": ("/etc/supervisor/conf.d", "/etc/supervisord.d"),
    "php": ("/usr/share/beanwatch/php",) * 2,
    "php_src": ("/usr/share/beanwatch/php/src",) * 2,
    "php_pheanstalk": ("/usr/share/beanwatch/php/pheanstalk",) * 2,
    "cron": ("/etc/cron.d", "/etc/cron.d"),
    "graphite": ("/etc/beanwatch/graphite", "/etc/beanwatch/graphite"),
    "statsd": ("/etc/beanwatch/statsd", "/etc/beanwatch/statsd"),
    "prometheus": ("/etc/prometheus", "/etc/prometheus"),
    "prometheus_examples": ("/etc/beanwatch/prometheus", "/etc/beanwatch/prometheus"),
    "default": ("/etc/default", "/etc/default"),
    "dashboards": ("/etc/grafana/dashboards/beanwatch",)
    * 2,  # the path in grafana/provisioning/dashboards
    "datasources": ("/etc/grafana/provisioning/datasources",) * 2,
    "provisioning": ("/etc/grafana/provisioning/dashboards",) * 2,
    "alerting": ("/etc/grafana/provisioning/alerting",) * 2,
}
