package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
)

// Message is one event on its way to one receiver.
type Message struct {
	ledger.Event
	Attempt   int    // counts from 1; above 1 the receiver may have the message already
	Missed    int    // events before it that this receiver was not told
	PublicURL string // links start with it; "": no links
}

// body is what is posted; docs/notify.schema.json explains each key.
//
// Slack and Mattermost show text and ignore keys that they don't know. They show the
// footer of an attachment, and require something to show in each one. A Teams workflow
// shows the card, and expects it in the attachment. There is no "type" key beside it,
// though Teams' examples have one: Mattermost would refuse the whole message.
type body struct {
	Text        string           `json:"text"`
	ID          string           `json:"id"`
	Event       ledger.EventKind `json:"event"`
	At          string           `json:"at"`
	Attempt     int              `json:"attempt"`
	Missed      int              `json:"missed"`
	Repository  string           `json:"repository,omitempty"`
	Environment string           `json:"environment,omitempty"`
	URL         string           `json:"url,omitempty"`
	Purge       *purge           `json:"purge,omitempty"`
	Pause       *pause           `json:"pause,omitempty"`
	Webhooks    *webhooks        `json:"webhooks,omitempty"`
	Attachments []attachment     `json:"attachments"`
}

// purge is the purge that the event is about. Refused does not include NotTried.
type purge struct {
	ID       string       `json:"id"`
	State    ledger.State `json:"state"`
	Cause    ledger.Cause `json:"cause"`
	By       string       `json:"by,omitempty"`
	SHA      string       `json:"sha,omitempty"`
	URLs     int          `json:"urls"`
	Tags     int          `json:"tags"`
	CPCodes  int          `json:"cpcodes"`
	Purged   int          `json:"purged"`
	Refused  int          `json:"refused"`
	NotTried int          `json:"not_tried"`
	Reason   string       `json:"reason,omitempty"`
	Pages    *pages       `json:"pages,omitempty"`
}

// pages is how many pages were looked at after the purge, and what was found.
type pages struct {
	Checked int    `json:"checked"`
	Fresh   int    `json:"fresh"`
	Stale   int    `json:"stale"`
	Reason  string `json:"reason,omitempty"`
}

// pause is the pause that the event is about; ResumedBy is set if it has ended.
type pause struct {
	ID           int64  `json:"id"`
	Repositories string `json:"repositories,omitempty"`
	Environment  string `json:"environment,omitempty"`
	Account      string `json:"account,omitempty"`
	All          bool   `json:"all"`
	By           string `json:"by"`
	Reason       string `json:"reason"`
	Since        string `json:"since"`
	Until        string `json:"until,omitempty"`
	ResumedBy    string `json:"resumed_by,omitempty"`
	Purges       int    `json:"purges"`
	Objects      int    `json:"objects"`
}

// webhooks is a silence of an installation's webhooks.
type webhooks struct {
	Installation int64   `json:"installation"`
	Account      string  `json:"account,omitempty"`
	Last         string  `json:"last,omitempty"`          // when the last one came
	Habit        float64 `json:"habit_seconds,omitempty"` // the usual time between two, in seconds
	Failed       int     `json:"failed,omitempty"`
}

// attachment holds the footer for Slack and Mattermost, and the card for Teams.
type attachment struct {
	Footer      string `json:"footer"`
	Fallback    string `json:"fallback"`
	ContentType string `json:"contentType"`
	Content     card   `json:"content"`
}

// card is an Adaptive Card. 1.4 is the newest version that Teams shows everywhere.
type card struct {
	Schema  string      `json:"$schema"`
	Type    string      `json:"type"`
	Version string      `json:"version"`
	Body    []textBlock `json:"body"`
}

type textBlock struct {
	Type string `json:"type"`
	Text string `json:"text"`
	Wrap bool   `json:"wrap"`
}

// JSON is the body that is posted.
func (m Message) JSON() ([]byte, error) {
	b := body{ID: m.ID, Event: m.Kind, At: stamp(m.At), Attempt: m.Attempt, Missed: m.Missed}
	if p := m.Purge; p != nil {
		b.Environment, b.Purge = p.Environment, purgeOf(*p)
		if len(m.Repositories) > 0 {
			b.Repository = m.Repositories[0]
		}
		if m.PublicURL != "" {
			b.URL = m.PublicURL + "/purges/" + p.Key
		}
	}
	if p := m.Pause; p != nil {
		b.Pause = &pause{
			ID: p.ID, Repositories: p.Repositories, Environment: p.Environment, Account: p.Account, All: p.All, By: p.By, Reason: p.Reason,
			Since: stamp(p.Since), Until: stamp(p.Until), ResumedBy: m.By, Purges: m.Waiting.Purges, Objects: m.Waiting.Objects,
		}
	}
	if s := m.Silence; s != nil {
		b.Webhooks = &webhooks{Installation: s.Installation, Account: s.Account, Last: stamp(s.Last), Habit: s.Habit.Seconds(), Failed: s.Failed}
	}
	words := m.words(b.URL)
	// Slack wants these three characters escaped:
	// https://docs.slack.dev/messaging/formatting-message-text#escaping
	b.Text = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(words)
	b.Attachments = []attachment{{
		Footer: "purgebot", Fallback: "purgebot", ContentType: "application/vnd.microsoft.card.adaptive",
		Content: card{
			Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4",
			Body: []textBlock{{Type: "TextBlock", Text: words, Wrap: true}},
		},
	}}
	return json.Marshal(b)
}

// words is the text before the escapes of any chat.
func (m Message) words(link string) string {
	words := report.Notice(m.Event)
	if link != "" {
		words += ". Details: " + link
	}
	if m.Missed > 0 {
		words += fmt.Sprintf(" (%s dropped before this one: they could not be delivered here)", report.Amount(m.Missed, "notification was", "notifications were"))
	}
	return words
}

// purgeOf is a purge as messages show it. Pages are left out if none was looked at.
func purgeOf(p ledger.Purge) *purge {
	c := p.Counts
	out := &purge{
		ID: p.ID, State: p.State, Cause: p.Cause, By: p.By, SHA: p.To.SHA, URLs: c.URLs, Tags: c.Tags, CPCodes: c.CPCodes,
		Purged: c.Accepted, Refused: c.Failed - c.Untried, NotTried: c.Untried, Reason: p.Reason,
	}
	if f := p.Proof; f.Checked > 0 {
		out.Pages = &pages{Checked: f.Checked, Fresh: f.Fresh, Stale: f.Stale, Reason: f.Words}
	}
	return out
}

// stamp is a time in RFC 3339 and UTC, "" for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
