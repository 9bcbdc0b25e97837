package pipeline_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/purgebot/purgebot/internal/servertest"
	"github.com/purgebot/purgebot/internal/stage"
	"github.com/purgebot/purgebot/internal/standin/github"
)

func TestCommentRetryAfterAkamaiRefused(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	const bad, good = "https://www.acme.com/bad/", "https://www.acme.com/good/"
	w.Akamai.Refuse(bad, 0, "")
	first := w.Say(number, "walt", "/purge "+bad+" "+good)
	w.Reacted(first, "eyes", "confused")
	w.Replied(number, "**1 purged, 1 refused**", "- `"+bad+"`: `Akamai doesn't let purgebot purge ")
	w.WantSent("production invalidate url " + good)

	nothing := w.Say(number, "rita", "/purge retry")
	w.Reacted(nothing, "confused")
	w.Akamai.Allow(bad)
	w.Reacted(w.Say(number, "walt", "/purge retry"), "eyes", "rocket")
	w.Replied(number, "`walt` retried 1 item.", "**2 URLs purged in")
	w.WantSent("production invalidate url " + bad)
	w.Reacted(first, "eyes", "rocket") // the first reaction is taken back; the reply says so too
	w.Awaits("the first reply to say so", func() bool {
		return strings.Contains(w.Replies(number)[0].Body, "**2 URLs purged in")
	})

	w.Reacted(w.Say(number, "walt", "/purge retry"), "eyes", "confused")
	w.Replied(number, "no purge here has refused items")
}

func TestCommentReleaseAndCancel(t *testing.T) {
	w, _ := newWorld(t, func(cfg *stage.Config) { cfg.Policy[0].HoldOver.Delete = 1 })
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	const a, b = "https://www.acme.com/a/", "https://www.acme.com/b/"
	first := w.Say(number, "mona", "/purge --delete "+a+" "+b)
	w.Replied(number, "**Needs approval: 2 URLs**", "`2 deletes, limit 1`", "`/purge release`")
	w.Reacted(w.Say(number, "walt", "/purge release"), "eyes", "confused") // a delete needs a higher role
	w.Replied(number, "deleting here needs the **maintain** role")
	w.Reacted(first, "eyes")
	w.WantSent()
	w.Reacted(w.Say(number, "mona", "/purge release"), "eyes", "rocket")
	w.Replied(number, "`mona` released this purge.", "**2 URLs purged in")
	w.Reacted(first, "eyes", "rocket")
	w.WantSent("production delete url "+a, "production delete url "+b)

	second := w.Say(number, "mona", "/purge --delete "+a+" "+b)
	w.Replied(number, "**Needs approval: 2 URLs**")
	w.Reacted(w.Say(number, "walt", "/purge cancel"), "eyes", "rocket")
	w.Replied(number, "`walt` cancelled this purge.", "**Cancelled by `walt`, 2 not purged**")
	w.Reacted(second, "eyes", "confused")
	w.WantSent()
	w.Reacted(w.Say(number, "walt", "/purge release"), "eyes", "confused")
	w.Replied(number, "no purge here needs approval")
}

func TestCommentRetryOfADeploy(t *testing.T) {
	w, first := newWorld(t, nil)
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	const bad = "https://www.acme.com/index/home/"
	w.Akamai.Refuse(bad, 0, "")
	second := w.Commit("second", map[string]string{"content/index/home.md": "new"})
	w.Push(second)
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "failure", "1 purged, 1 refused: Akamai doesn't let purgebot purge ")
	w.Akamai.Allow(bad)
	w.Sent()
	w.Reacted(w.Say(number, "walt", "/purge retry"), "eyes", "rocket")
	w.Replied(number, "**2 URLs purged in", "Deployment of `"+second[:7]+"`")
	w.Await(second, "production", "success", "2 URLs purged in")
	w.WantSent("production invalidate url " + bad)
}

func TestCommentThroughTrouble(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.handled()
	var limited, lost atomic.Bool
	w.GitHub.Fault(func(r *http.Request) github.Fault {
		switch {
		case strings.HasSuffix(r.URL.Path, "/permission") && !limited.Swap(true):
			return github.Fault{Status: http.StatusForbidden, Header: http.Header{"Retry-After": {"1"}}}
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/comments") && !lost.Swap(true):
			return github.Fault{LoseAnswer: true}
		}
		return github.Fault{}
	})
	w.Reacted(w.Say(number, "walt", "/purge https://www.acme.com/x/"), "eyes", "rocket")
	w.Replied(number, "**1 URL purged in")
	if !limited.Load() || !lost.Load() {
		t.Error("nothing went wrong")
	}
	if n := len(w.Replies(number)); n != 1 {
		t.Errorf("%d replies: %+v", n, w.Replies(number))
	}
	w.WantSent("production invalidate url https://www.acme.com/x/")
}

func TestCommentHeldByTheRules(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Push(w.Commit("limits", map[string]string{"purge-rules.yaml": servertest.Rules + "limits:\n  - over: 3\n    instead: hold\n"}))
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	comment := w.Say(number, "walt", "/purge content/**")
	w.Replied(number, "**Needs approval: 4 URLs**", "`limit 3`")
	w.WantSent()
	w.Reacted(w.Say(number, "walt", "/purge release"), "eyes", "rocket")
	w.Reacted(comment, "eyes", "rocket")
	if n := len(w.Sent()); n != 4 {
		t.Errorf("%d objects sent", n)
	}

	// What is named directly counts with what files map to, each URL once.
	const a, b = "https://www.acme.com/a/", "https://www.acme.com/b/"
	w.Reacted(w.Say(number, "walt", "/purge content/about/us.md https://www.acme.com/about/us/ "+a), "eyes", "rocket")
	w.Replied(number, "**3 URLs purged in")
	w.WantSent("production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/",
		"production invalidate url "+a)
	comment = w.Say(number, "walt", "/purge content/about/us.md tag:acme-x "+a+" "+b)
	w.Replied(number, "**Needs approval: 4 URLs, 1 tag**", "`limit 3`")
	w.Reacted(comment, "eyes")
	w.WantSent()
}

func TestCommentRetryByThePolicyOfThatMoment(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.Reacted(w.Say(number, "walt", "/purge https://www.other.com/ https://www.acme.com/ cpcode:12345"), "eyes", "confused")
	w.Replied(number, "**1 purged, 2 refused**")
	w.Reacted(w.Say(number, "adam", "/purge --env staging https://www.other.com/"), "eyes", "confused")
	w.Reacted(w.Say(number, "walt", "/purge retry --env staging"), "eyes", "confused")
	w.Replied(number, "still refused: `policy doesn't allow host www.other.com for acme/site`")
	w.Sent()

	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	w.Config.Policy[0].Hosts = append(w.Config.Policy[0].Hosts, "www.other.com")
	w.Begin()
	w.Reacted(w.Say(number, "mona", "/purge retry --env production"), "eyes", "confused")
	w.Replied(number, "**2 purged, 1 refused**")
	w.WantSent("production invalidate url https://www.other.com/")
	w.Reacted(w.Say(number, "mona", "/purge retry --env production"), "eyes", "confused")
	w.Replied(number, "purging a CP code here needs the **admin** role")
	w.Reacted(w.Say(number, "adam", "/purge retry --env production"), "eyes", "rocket")
	w.Replied(number, "2 URLs, 1 CP code purged in")
	w.WantSent("production invalidate cpcode 12345")
}

func TestCommentStatus(t *testing.T) {
	w, first := newWorld(t, func(cfg *stage.Config) { cfg.Policy[0].HoldOver.CPCode = 0; cfg.Policy[0].HoldOver.Delete = 1 })
	w.Deploy("production", first, "success")
	w.Begin()
	w.People()
	number := w.Pull("topic", map[string]string{"notes.txt": "x"}, nil)
	second := w.Commit("second", map[string]string{"content/index/home.md": "new"})
	w.Push(second)
	w.Deploy("production", second, "success")
	w.Await(second, "production", "success", "2 URLs purged")
	w.Say(number, "mona", "/purge --delete content/**")
	w.Replied(number, "**Needs approval: 4 URLs**")
	w.Reacted(w.Say(number, "walt", "/purge status"), "eyes", "rocket")
	w.Replied(number, "- `production`: `"+second[:7]+"` is live since ", "- `staging`: no deployment yet",
		"- `production`, Needs approval: 4 URLs: `4 deletes, limit 1`")
}
