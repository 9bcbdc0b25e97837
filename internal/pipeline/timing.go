package pipeline

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/purgebot/purgebot/internal/ledger"
)

// mostEnvironments bounds the environments that have figures of their own. A glob may fit
// one environment for each pull request, and every label costs memory here and at
// Prometheus. The others share the label "others".
const mostEnvironments = 100

// timings are how long deployments waited for their purge, by environment. They cover the
// purges whose end this process wrote on GitHub, so the replicas' figures add up.
type timings struct {
	accepted, proved *prometheus.HistogramVec
	warmed           prometheus.Counter

	mu    sync.Mutex
	known map[string]bool
}

// newTimings makes the histograms. Their buckets are seconds, up to an hour.
func newTimings() *timings {
	buckets := []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600}
	vec := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"environment"})
	}
	return &timings{
		accepted: vec("purgebot_accepted_seconds", "From a deployment's success until Akamai had accepted its purge and its estimate had passed."),
		proved:   vec("purgebot_proved_seconds", "From a deployment's success until the pages of its purge were told fresh."),
		warmed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "purgebot_warmed_total", Help: "URLs fetched through the edge after their purge."}),
		known:    map[string]bool{},
	}
}

// Metrics are the pipeline's own figures, for a registry.
func (p *Pipeline) Metrics() []prometheus.Collector {
	words := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "purgebot_words_refused_total", Help: "Words for GitHub that it refused: they are said more plainly, if at all.",
	}, func() float64 { return float64(p.GitHub.WordsRefused()) })
	return []prometheus.Collector{p.timings.accepted, p.timings.proved, p.timings.warmed, p.notices.sent, p.notices.refused, words}
}

// told notes how long a purge took whose end was just written on GitHub. A purge that
// knows no deployment, such as a person's, has no time to count from. A purge that was
// refused in part was not accepted, and one with a stale page was not proved.
func (t *timings) told(p ledger.Purge) {
	if p.State != ledger.Done || p.To.At.IsZero() {
		return
	}
	// All workers share known: without the lock two of them could both add the last name.
	t.mu.Lock()
	name := p.Environment
	if !t.known[name] && len(t.known) >= mostEnvironments {
		name = "others"
	}
	t.known[name] = true
	t.mu.Unlock()
	// A success may have GitHub's time, which may be ahead of this machine's: then
	// nothing is counted.
	observe := func(h *prometheus.HistogramVec, then time.Time) {
		if then.After(p.To.At) {
			h.WithLabelValues(name).Observe(then.Sub(p.To.At).Seconds())
		}
	}
	if p.Counts.Accepted > 0 && p.Counts.Failed == 0 {
		observe(t.accepted, p.DoneAt)
	}
	if p.Proof.Checked > 0 && p.Proof.Fresh == p.Proof.Checked {
		observe(t.proved, p.Proof.DoneAt)
	}
}
