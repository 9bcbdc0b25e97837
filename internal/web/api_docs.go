package web

import (
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
)

// The documents of the API, as docs/openapi.yaml describes them. A test compares their
// fields with it, so a change here needs one there. Times are RFC 3339 in UTC; a time
// that is left out has not come.

// Problem is the answer to a request that can't be fulfilled.
type Problem struct {
	Error string `json:"error"`
}

// Ask is the body of a retry, a release and a cancel.
type Ask struct {
	By     string `json:"by"`              // who wants it; goes into the status
	Reason string `json:"reason,omitzero"` // of a retry: only objects that were refused for a reason that contains it, in any case
}

// PauseAsk is the body of a pause. An empty name leaves the scope as wide as it is.
type PauseAsk struct {
	Repo    string `json:"repo,omitzero"`    // a glob of OWNER/NAME, in any case
	Env     string `json:"env,omitzero"`     // in any case
	Account string `json:"account,omitzero"` // of Akamai
	All     bool   `json:"all,omitzero"`     // people's purges too
	Seconds int64  `json:"seconds,omitzero"` // how long; 0: until it is resumed
	Reason  string `json:"reason"`           // statuses show it
	By      string `json:"by,omitzero"`      // and who wants it
}

// ResumeAsk is the body of a resume: the scope that the pause was made for.
type ResumeAsk struct {
	Repo    string `json:"repo,omitzero"`
	Env     string `json:"env,omitzero"`
	Account string `json:"account,omitzero"`
	By      string `json:"by,omitzero"`
}

// Pauses are the active pauses, or those that a pause began and a resume ended.
type Pauses struct {
	At     time.Time `json:"at"` // when this was read
	Pauses []Paused  `json:"pauses"`
}

// Paused is a pause that an operator made, with how much it holds back.
type Paused struct {
	ID           int64     `json:"id"`
	Repositories string    `json:"repositories"` // a glob; "": all
	Environment  string    `json:"environment"`  // "": all
	Account      string    `json:"account"`      // "": all
	All          bool      `json:"all"`          // people's purges too
	Covers       string    `json:"covers"`       // the scope in words
	By           string    `json:"by"`
	Reason       string    `json:"reason"`
	Since        time.Time `json:"since"`
	Until        time.Time `json:"until,omitzero"` // when it ends by itself
	Purges       int       `json:"purges"`
	Objects      int       `json:"objects"` // of those purges, neither accepted nor failed
}

// Status is what is live in each environment, and what is desired.
type Status struct {
	At           time.Time     `json:"at"` // when this was read
	Environments []Environment `json:"environments"`
	More         bool          `json:"more"`  // there are more environments: ask for one repository
	Pause        *Pause        `json:"pause"` // of the first account that has one
	Accounts     []Account     `json:"accounts"`
	Pauses       []Paused      `json:"pauses"` // that operators made
}

// Environment is one environment of a repository.
type Environment struct {
	Repository  string    `json:"repository"`
	Environment string    `json:"environment"`
	Live        *Point    `json:"live"`    // null: nothing was purged for it yet
	Desired     *Point    `json:"desired"` // null: no deployment succeeded yet
	Reconciled  bool      `json:"reconciled"`
	DueAt       time.Time `json:"due_at,omitzero"` // not planned before then, because the rules let it settle
	Fault       string    `json:"fault"`           // why planning waits; "" if it does not
	Held        string    `json:"held"`            // what needs approval, as "12 URLs"; "" if nothing does
	Purges      []Purge   `json:"purges"`          // the last ones, the newest first
}

// Point is a commit with the fact that put it there.
type Point struct {
	SHA        string    `json:"sha"`
	Deployment int64     `json:"deployment"` // GitHub's id; 0 where a push is the trigger
	Since      time.Time `json:"since"`      // when GitHub recorded it
}

// Account is an Akamai account that the server has credentials of.
type Account struct {
	Account string `json:"account"`
	Objects int    `json:"objects"` // of open purges, neither accepted nor failed
	Pause   *Pause `json:"pause"`   // null: what waits is sent
}

// Pause says why nothing is sent with an account's credentials.
type Pause struct {
	Account string `json:"account"`

	Until time.Time `json:"until"` // one request is tried then
	Words string    `json:"words"`
}

// Purge is one purge.
type Purge struct {
	ID          string    `json:"id"`
	URL         string    `json:"url"` // its page; everybody who has the address can read it
	Repository  string    `json:"repository"`
	Environment string    `json:"environment"`
	Network     string    `json:"network"`
	Account     string    `json:"account"` // of Akamai; it is sent with its credentials
	Cause       string    `json:"cause"`
	By          string    `json:"by"`
	From        string    `json:"from"`
	To          string    `json:"to"`
	Lane        string    `json:"lane"`
	State       string    `json:"state"`     // held, open, done or cancelled
	Result      string    `json:"result"`    // as the commit status: pending, success or failure
	Words       string    `json:"words"`     // as the commit status says it
	PausedBy    string    `json:"paused_by"` // the operator who paused it, and why; "" if nobody did
	URLs        int       `json:"urls"`
	Tags        int       `json:"tags"`
	CPCodes     int       `json:"cpcodes"`
	Total       int       `json:"total"`
	Accepted    int       `json:"accepted"`
	Failed      int       `json:"failed"`
	Untried     int       `json:"untried"` // of the failed ones
	CreatedAt   time.Time `json:"created_at"`
	OpenedAt    time.Time `json:"opened_at,omitzero"`
	DoneAt      time.Time `json:"done_at,omitzero"`
}

// PurgeDetail is a purge with a page of its objects.
type PurgeDetail struct {
	Purge   Purge    `json:"purge"`
	Objects []Object `json:"objects"`
	Next    int64    `json:"next"` // ?from= of the next page; 0: this was the last
}

// Failed is a page of the purges with refused objects.
type Failed struct {
	At     time.Time     `json:"at"` // when this was read
	Purges []FailedPurge `json:"purges"`
	Next   string        `json:"next"` // ?from= of the next page; "": this was the last
}

// FailedPurge is a purge with refused objects that the query selects.
type FailedPurge struct {
	Purge   Purge    `json:"purge"`
	Objects int      `json:"objects"` // that were refused for such a reason
	Reasons []Reason `json:"reasons"` // of these, the most frequent first
}

// Reason is why objects were refused.
type Reason struct {
	Reason  string `json:"reason"`
	Objects int    `json:"objects"`
}

// Object is one object of a purge and what became of it.
type Object struct {
	Seq    int64  `json:"seq"`
	Kind   string `json:"kind"`
	Action string `json:"action"`
	Object string `json:"object"`
	Rule   string `json:"rule"`
	Path   string `json:"path"`   // of the changed file
	State  string `json:"state"`  // waiting, claimed, accepted, failed or dropped
	Reason string `json:"reason"` // why it failed

	AkamaiID   string    `json:"akamai_id"`           // of the request that took it
	SupportID  string    `json:"support_id,omitzero"` // of the answer that decided it, as are the next two
	Status     int       `json:"status,omitzero"`     // of HTTP
	AnsweredAt time.Time `json:"answered_at,omitzero"`
}

// Queue is what waits.
type Queue struct {
	At           time.Time  `json:"at"`
	Deliveries   int        `json:"deliveries"`   // webhook deliveries to read
	Environments int        `json:"environments"` // where the desired commit is not live yet
	Statuses     int        `json:"statuses"`     // statuses, replies and reactions that GitHub does not show yet
	Waiting      []Waiting  `json:"waiting"`      // objects that no request has taken yet, by kind and lane
	Requests     []Requests `json:"requests"`     // to Akamai, by kind
	SetAside     []SetAside `json:"set_aside"`    // deliveries that no job works on, the newest first
	SetAsideAll  int        `json:"set_aside_all"`
	Held         Held       `json:"held"`
	Budget       []Bucket   `json:"budget"`
	Pause        *Pause     `json:"pause"` // of the first account that has one
	Accounts     []Account  `json:"accounts"`
	Pauses       []Paused   `json:"pauses"` // that operators made
	Purges       []Purge    `json:"purges"` // open and held ones, in the order in which they are sent
}

// SetAside is a delivery that was set aside because its handling failed too often.
type SetAside struct {
	Delivery   string    `json:"delivery"` // its id
	Event      string    `json:"event"`
	Repository string    `json:"repository"` // "": not known
	ReceivedAt time.Time `json:"received_at"`
	Reason     string    `json:"reason"`
}

// Replayed is the answer to a replay.
type Replayed struct {
	Delivery string `json:"delivery"` // its id
}

// Waiting counts objects of one kind in one lane.
type Waiting struct {
	Account string    `json:"account"`
	Kind    string    `json:"kind"`
	Lane    string    `json:"lane"` // people, deploys or large
	Objects int       `json:"objects"`
	Since   time.Time `json:"since"` // when the oldest purge of them was opened
}

// Requests counts requests of one kind that have not ended.
type Requests struct {
	Account string `json:"account"`
	Kind    string `json:"kind"`
	Ready   int    `json:"ready"`   // wait to be sent again
	Sending int    `json:"sending"` // wait for Akamai's answer
	Objects int    `json:"objects"` // in both
}

// Held counts what waits for a person's approval.
type Held struct {
	Purges  int `json:"purges"`
	Objects int `json:"objects"`
}

// Bucket is one of an account's token buckets as the server models it now.
type Bucket struct {
	Account   string  `json:"account"`
	Bucket    string  `json:"bucket"` // requests, url, tag or cpcode
	Tokens    int     `json:"tokens"`
	Capacity  int     `json:"capacity"`
	PerSecond float64 `json:"per_second"`
}

// Acted is the answer to a retry, a release and a cancel.
type Acted struct {
	Purge Purge `json:"purge"` // as it is now
	Freed int   `json:"freed"` // objects that wait again, of a retry

	Refused string `json:"refused,omitzero"` // why policy still refuses an object, of a retry and a release: the first reason
}

// pointDoc is nil for a point that is not set, which JSON writes as null.
func pointDoc(p ledger.Point) *Point {
	if p.IsZero() {
		return nil
	}
	return &Point{SHA: p.SHA, Deployment: p.Deploy, Since: p.At.UTC()}
}

// purgeDoc is a purge as the API shows it. The status and its words are those that the
// commit status has at this time.
func (w *Web) purgeDoc(p ledger.Purge, repository string) Purge {
	words := report.Purge(p, w.Now())
	return Purge{
		ID: p.ID, URL: w.PublicURL + "/purges/" + p.Key, Repository: repository, Environment: p.Environment,
		Network: string(p.Network), Account: p.Account, Cause: string(p.Cause), By: p.By, From: p.From.SHA, To: p.To.SHA,
		Lane: laneName(p.Lane), State: string(p.State), Result: words.State, Words: words.Description,
		PausedBy: p.PausedBy,
		URLs:     p.Counts.URLs, Tags: p.Counts.Tags, CPCodes: p.Counts.CPCodes,
		Total: p.Counts.Total(), Accepted: p.Counts.Accepted, Failed: p.Counts.Failed, Untried: p.Counts.Untried,
		CreatedAt: p.CreatedAt, OpenedAt: p.OpenedAt, DoneAt: p.DoneAt,
	}
}

// laneName is a lane as the API names it.
func laneName(lane int) string {
	switch lane {
	case ledger.LanePeople:
		return "people"
	case ledger.LaneDeploy:
		return "deploys"
	default:
		return "large"
	}
}
