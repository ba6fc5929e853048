// StatsD's configuration for beanwatch workers (--metrics statsd://HOST:8125).
//
// With this configuration, StatsD sends the same series as a worker that sends directly to
// Graphite (--metrics graphite://): names get no prefix, counters end in `.count` and `.rate`.
{
  graphiteHost: "127.0.0.1",
  graphitePort: 2003,
  port: 8125,
  backends: ["./backends/graphite"],

  // Milliseconds. Must equal the finest step of Graphite's storage schema, which stores one point
  // per step: with a shorter interval, points would overwrite each other.
  flushInterval: 10000,

  percentThreshold: [50, 95, 99],
  calculatedTimerMetrics: ["count", "mean", "upper", "upper_percent"],
  // Otherwise StatsD keeps sending zeros for every kind of job that has ever run.
  deleteIdleStats: true,

  graphite: {
    legacyNamespace: false,
    globalPrefix: "",
    prefixCounter: "",
    prefixTimer: "",
    prefixGauge: "",
    prefixSet: ""
  }
}
