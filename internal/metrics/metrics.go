// Package metrics tells Prometheus how the server is doing. It reads the ledger at each
// scrape.
package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/purgebot/purgebot/internal/store"
)

// New makes the handler of /metrics. ready returns why the database can't be used, as
// [store.Store.Ready] does. more are figures that only this process knows.
func New(ledger *store.Reader, ready func(context.Context) error, log *slog.Logger, more ...prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(more...)
	registry.MustRegister(&queueCollector{ledger: ledger, ready: ready, log: log},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// BuildInfo tells by its labels which program this is; its value is always 1.
func BuildInfo(version, commit string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "purgebot_build_info", Help: "1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}

// ReloadOK tells whether the last change of the configuration was taken over.
func ReloadOK() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "purgebot_config_reload_ok",
		Help: "0 since a changed configuration could not be taken: the server goes on with the one before.",
	})
}

// queueCollector reads its figures from the ledger when Prometheus asks. So a restart
// loses no count, and every replica reports the same about the shared queue.
type queueCollector struct {
	ledger *store.Reader
	ready  func(context.Context) error
	log    *slog.Logger
}

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// descs are the gauges without labels. Collect relies on their order.
func (q *queueCollector) descs() []*prometheus.Desc {
	return []*prometheus.Desc{
		gauge("purgebot_deliveries_waiting", "Webhook deliveries stored and not handled yet."),
		gauge("purgebot_deliveries_set_aside", "Webhook deliveries whose handling failed three times, so that nobody works on them."),
		gauge("purgebot_statuses_waiting", "Commit statuses whose words GitHub does not show yet."),
		gauge("purgebot_notifications_waiting", "Notifications that a receiver of notify has not taken yet."),
		gauge("purgebot_statuses_refused", "Commit statuses, check runs and comments that GitHub does not take: a permission is missing, or the commit is gone."),
		gauge("purgebot_pause_oldest_seconds", "How long ago the oldest pause was made that an operator has not resumed; 0: there is none."),
	}
}

// accountDescs are the gauges of each Akamai account. They have a label with the account
// only if there are several.
func accountDescs(labels ...string) (waiting, paused *prometheus.Desc) {
	return gauge("purgebot_targets_waiting", "Objects of open purges that are neither accepted nor failed.", labels...),
		gauge("purgebot_akamai_paused", "1 while nothing is sent to Akamai: credentials, clock, grant, or Akamai is away.", labels...)
}

func databaseUp() *prometheus.Desc {
	return gauge("purgebot_database_up", "0 while the database can't be used; what waits may not be known then.")
}

// Describe implements prometheus.Collector. It describes nothing, because the labels
// change with the configuration; Prometheus's library then does not check the metrics.
func (q *queueCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector. It leaves out what can't be read, because the
// scrape must still show that the process is up. purgebot_database_up always comes.
func (q *queueCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // Prometheus waits 10 s by default
	defer cancel()
	up := 1.0
	if err := q.ready(ctx); err != nil {
		up = 0
	}
	ch <- prometheus.MustNewConstMetric(databaseUp(), prometheus.GaugeValue, up)
	queue, err := q.ledger.Queue(ctx)
	if err != nil {
		if _, ok := errors.AsType[*store.UnavailableError](err); !ok {
			q.log.LogAttrs(ctx, slog.LevelError, "metrics can't be read", slog.Any("err", err))
		}
		return
	}
	_, aside, err := q.ledger.DeliveriesSetAside(ctx, 0)
	if err != nil {
		return // the read before this one succeeded; the next scrape tries again
	}
	// In the order of descs.
	for i, v := range []int{queue.Deliveries, aside, queue.Posts, queue.Notices, queue.Refused, int(queue.PausedFor.Seconds())} {
		ch <- prometheus.MustNewConstMetric(q.descs()[i], prometheus.GaugeValue, float64(v))
	}
	collectAccounts(ch, queue.Accounts)
}

// collectAccounts reports the gauges of each account.
func collectAccounts(ch chan<- prometheus.Metric, accounts []store.Account) {
	for _, a := range accounts {
		var labels, values []string
		if len(accounts) > 1 {
			labels, values = []string{"account"}, []string{a.Name}
		}
		paused := 0.0
		if a.Paused {
			paused = 1
		}
		waiting, stopped := accountDescs(labels...)
		ch <- prometheus.MustNewConstMetric(waiting, prometheus.GaugeValue, float64(a.Targets), values...)
		ch <- prometheus.MustNewConstMetric(stopped, prometheus.GaugeValue, paused, values...)
	}
}
