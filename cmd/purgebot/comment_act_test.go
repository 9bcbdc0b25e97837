package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/purgebot/purgebot/internal/standin"
)

func TestCommentRetryAfterAkamaiRefused(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	const bad, good = "https://www.acme.com/bad/", "https://www.acme.com/good/"
	w.akamai.Refuse(bad, 0, "")
	first := w.say(number, "walt", "/purge "+bad+" "+good)
	w.reacted(first, "eyes", "confused")
	w.replied(number, "**1 purged, 1 refused**", "- `"+bad+"`: `unauthorized arl")
	w.wantSent("production invalidate url " + good)

	nothing := w.say(number, "rita", "/purge retry")
	w.reacted(nothing, "eyes", "confused")
	w.akamai.Allow(bad)
	w.reacted(w.say(number, "walt", "/purge retry"), "eyes", "rocket")
	w.replied(number, "`walt` tries 1 object again.", "**2 URLs purged in")
	w.wantSent("production invalidate url " + bad)
	w.reacted(first, "eyes", "rocket") // what was said first is taken back; its own reply says so too
	w.awaits("the first reply to say so", func() bool {
		return strings.Contains(w.replies(number)[0].Body, "**2 URLs purged in")
	})

	w.reacted(w.say(number, "walt", "/purge retry"), "eyes", "confused")
	w.replied(number, "no purge has failed objects here")
}

func TestCommentReleaseAndCancel(t *testing.T) {
	w, _ := newWorld(t, func(cfg *stageConfig) { cfg.policy[0].HoldOver.Delete = 1 })
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	const a, b = "https://www.acme.com/a/", "https://www.acme.com/b/"
	first := w.say(number, "mona", "/purge --delete "+a+" "+b)
	w.replied(number, "**Held: 2 URLs**", "`2 deletes, policy holds more than 1`", "`/purge release`")
	w.reacted(w.say(number, "walt", "/purge release"), "eyes", "confused") // a delete takes more
	w.replied(number, "To delete here takes the role **maintain**")
	w.reacted(first, "eyes")
	w.wantSent()
	w.reacted(w.say(number, "mona", "/purge release"), "eyes", "rocket")
	w.replied(number, "`mona` released this purge.", "**2 URLs purged in")
	w.reacted(first, "eyes", "rocket")
	w.wantSent("production delete url "+a, "production delete url "+b)

	second := w.say(number, "mona", "/purge --delete "+a+" "+b)
	w.replied(number, "**Held: 2 URLs**")
	w.reacted(w.say(number, "walt", "/purge cancel"), "eyes", "rocket")
	w.replied(number, "`walt` cancelled this purge.", "**Cancelled by `walt`, 2 not purged**")
	w.reacted(second, "eyes", "confused")
	w.wantSent()
	w.reacted(w.say(number, "walt", "/purge release"), "eyes", "confused")
	w.replied(number, "no purge is held here")
}

func TestCommentRetryOfADeploy(t *testing.T) {
	w, first := newWorld(t, nil)
	w.deploy("production", first, "success")
	w.begin()
	w.people()
	const bad = "https://www.acme.com/index/home/"
	w.akamai.Refuse(bad, 0, "")
	second := w.commit("second", map[string]string{"content/index/home.md": "new"})
	w.push(second)
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.deploy("production", second, "success")
	w.await(second, "production", "failure", "1 purged, 1 refused: unauthorized arl")
	w.akamai.Allow(bad)
	w.sent()
	w.reacted(w.say(number, "walt", "/purge retry"), "eyes", "rocket")
	w.replied(number, "**2 URLs purged in", "for the deployment of `"+second[:7]+"`")
	w.await(second, "production", "success", "2 URLs purged in")
	w.wantSent("production invalidate url " + bad)
}

func TestCommentThroughTrouble(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.handled()
	var limited, lost atomic.Bool
	w.github.Fault(func(r *http.Request) standin.GitHubFault {
		switch {
		case strings.HasSuffix(r.URL.Path, "/permission") && !limited.Swap(true):
			return standin.GitHubFault{Status: http.StatusForbidden, Header: http.Header{"Retry-After": {"1"}}}
		case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/comments") && !lost.Swap(true):
			return standin.GitHubFault{LoseAnswer: true}
		}
		return standin.GitHubFault{}
	})
	w.reacted(w.say(number, "walt", "/purge https://www.acme.com/x/"), "eyes", "rocket")
	w.replied(number, "**1 URL purged in")
	if !limited.Load() || !lost.Load() {
		t.Error("nothing went wrong")
	}
	if n := len(w.replies(number)); n != 1 {
		t.Errorf("%d replies: %+v", n, w.replies(number))
	}
	w.wantSent("production invalidate url https://www.acme.com/x/")
}

func TestCommentHeldByTheRules(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.push(w.commit("limits", map[string]string{"purge-rules.yaml": testRules + "limits:\n  - over: 3\n    instead: hold\n"}))
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	comment := w.say(number, "walt", "/purge content/**")
	w.replied(number, "**Held: 4 URLs**", "`4 URLs, the rules hold more than 3`")
	w.wantSent()
	w.reacted(w.say(number, "walt", "/purge release"), "eyes", "rocket")
	w.reacted(comment, "eyes", "rocket")
	if n := len(w.sent()); n != 4 {
		t.Errorf("%d objects sent", n)
	}

	// What is named directly counts with what files map to, each URL once.
	const a, b = "https://www.acme.com/a/", "https://www.acme.com/b/"
	w.reacted(w.say(number, "walt", "/purge content/about/us.md https://www.acme.com/about/us/ "+a), "eyes", "rocket")
	w.replied(number, "**3 URLs purged in")
	w.wantSent("production invalidate url https://www.acme.com/about/us/", "production invalidate url https://m.acme.com/about/us/",
		"production invalidate url "+a)
	comment = w.say(number, "walt", "/purge content/about/us.md tag:acme-x "+a+" "+b)
	w.replied(number, "**Held: 4 URLs, 1 tag**", "`4 URLs, the rules hold more than 3`")
	w.reacted(comment, "eyes")
	w.wantSent()
}

func TestCommentRetryByThePolicyOfThatMoment(t *testing.T) {
	w, _ := newWorld(t, nil)
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	w.reacted(w.say(number, "walt", "/purge https://www.other.com/ https://www.acme.com/ cpcode:12345"), "eyes", "confused")
	w.replied(number, "**1 purged, 2 refused**")
	w.reacted(w.say(number, "adam", "/purge --env staging https://www.other.com/"), "eyes", "confused")
	w.reacted(w.say(number, "walt", "/purge retry --env staging"), "eyes", "confused")
	w.replied(number, "policy still refuses it: `policy does not allow host www.other.com for acme/site`")
	w.sent()

	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	w.cfg.policy[0].Hosts = append(w.cfg.policy[0].Hosts, "www.other.com")
	w.begin()
	w.reacted(w.say(number, "mona", "/purge retry --env production"), "eyes", "confused")
	w.replied(number, "**2 purged, 1 refused**")
	w.wantSent("production invalidate url https://www.other.com/")
	w.reacted(w.say(number, "mona", "/purge retry --env production"), "eyes", "confused")
	w.replied(number, "To purge a CP code here takes the role **admin**")
	w.reacted(w.say(number, "adam", "/purge retry --env production"), "eyes", "rocket")
	w.replied(number, "2 URLs, 1 CP code purged in")
	w.wantSent("production invalidate cpcode 12345")
}

func TestCommentStatus(t *testing.T) {
	w, first := newWorld(t, func(cfg *stageConfig) { cfg.policy[0].HoldOver.CPCode = 0; cfg.policy[0].HoldOver.Delete = 1 })
	w.deploy("production", first, "success")
	w.begin()
	w.people()
	number := w.pull("topic", map[string]string{"notes.txt": "x"}, nil)
	second := w.commit("second", map[string]string{"content/index/home.md": "new"})
	w.push(second)
	w.deploy("production", second, "success")
	w.await(second, "production", "success", "2 URLs purged")
	w.say(number, "mona", "/purge --delete content/**")
	w.replied(number, "**Held: 4 URLs**")
	w.reacted(w.say(number, "walt", "/purge status"), "eyes", "rocket")
	w.replied(number, "- `production`: `"+second[:7]+"` is live since ", "- `staging`: nothing is known",
		"- `production`, Held: 4 URLs: `4 deletes, policy holds more than 1`")
}
