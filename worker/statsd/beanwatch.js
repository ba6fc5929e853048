// StatsD's configuration for beanwatch workers (--metrics statsd://HOST:8125).
//
// With it StatsD sends the same series that a worker sends straight to Graphite:
// nothing before a name, `count` and `rate` after that of a counter.
{
  graphiteHost: "127.0.0.1",
  graphitePort: 2003,
  port: 8125,
  backends: ["./backends/graphite"],

  // The finest step of the storage schema: of two points in one step the first would be lost.
  flushInterval: 10000,

  percentThreshold: [50, 95, 99],
  calculatedTimerMetrics: ["count", "mean", "upper", "upper_percent"],
  // Without it every job that ever ran sends zeroes for ever.
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
