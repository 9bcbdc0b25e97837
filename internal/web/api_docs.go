package web

import (
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/report"
)

// The documents of the API, as docs/openapi.yaml describes them. Times are
// RFC 3339 in UTC; one that is left out has not come.

// Problem is the answer to what can't be done.
type Problem struct {
	Error string `json:"error"`
}

// Ask is the body of a retry, a release and a cancel.
type Ask struct {
	By string `json:"by"` // who wants it; goes into the status
}

// Status is what is live in each environment, and what is desired.
type Status struct {
	At           time.Time     `json:"at"` // when this was read
	Environments []Environment `json:"environments"`
	More         bool          `json:"more"` // there are further environments: ask for one repository
	Pause        *Pause        `json:"pause"`
}

// Environment is one environment of a repository.
type Environment struct {
	Repository  string    `json:"repository"`
	Environment string    `json:"environment"`
	Live        *Point    `json:"live"`    // null: nothing was purged for it yet
	Desired     *Point    `json:"desired"` // null: no deployment succeeded yet
	Reconciled  bool      `json:"reconciled"`
	DueAt       time.Time `json:"due_at,omitzero"` // not planned before: the rules' settle
	Fault       string    `json:"fault"`           // why planning waits; "" if it does not
	Purges      []Purge   `json:"purges"`          // the last ones, the newest first
}

// Point is a commit with the fact that put it there.
type Point struct {
	SHA        string    `json:"sha"`
	Deployment int64     `json:"deployment"` // GitHub's id; 0 where a push is the trigger
	Since      time.Time `json:"since"`      // when GitHub recorded it
}

// Pause says why nothing is sent to Akamai.
type Pause struct {
	Until time.Time `json:"until"` // then one request probes
	Words string    `json:"words"`
}

// Purge is one purge.
type Purge struct {
	ID          string    `json:"id"`
	URL         string    `json:"url"` // its page; whoever has it can read it
	Repository  string    `json:"repository"`
	Environment string    `json:"environment"`
	Network     string    `json:"network"`
	Cause       string    `json:"cause"`
	By          string    `json:"by"`
	From        string    `json:"from"`
	To          string    `json:"to"`
	Lane        string    `json:"lane"`
	State       string    `json:"state"`  // held, open, done or cancelled
	Result      string    `json:"result"` // as the commit status: pending, success or failure
	Words       string    `json:"words"`  // as the commit status says it
	URLs        int       `json:"urls"`
	Tags        int       `json:"tags"`
	CPCodes     int       `json:"cpcodes"`
	Total       int       `json:"total"`
	Accepted    int       `json:"accepted"`
	Failed      int       `json:"failed"`
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

// Object is one object of a purge and its fate.
type Object struct {
	Seq      int64  `json:"seq"`
	Kind     string `json:"kind"`
	Action   string `json:"action"`
	Object   string `json:"object"`
	Rule     string `json:"rule"`
	Path     string `json:"path"`   // of the changed file
	State    string `json:"state"`  // waiting, claimed, accepted, failed or dropped
	Reason   string `json:"reason"` // why it failed
	AkamaiID string `json:"akamai_id"`
}

// Queue is what waits.
type Queue struct {
	At           time.Time  `json:"at"`
	Deliveries   int        `json:"deliveries"`   // webhook deliveries to read
	Environments int        `json:"environments"` // where another commit is desired than is live
	Statuses     int        `json:"statuses"`     // statuses, replies and reactions that GitHub does not show yet
	Waiting      []Waiting  `json:"waiting"`      // objects that no request has taken yet, by kind and lane
	Requests     []Requests `json:"requests"`     // to Akamai, by kind
	Held         Held       `json:"held"`
	Budget       []Bucket   `json:"budget"`
	Pause        *Pause     `json:"pause"`
	Purges       []Purge    `json:"purges"` // open and held ones, in the order in which they are served
}

// Waiting counts objects of one kind in one lane.
type Waiting struct {
	Kind    string    `json:"kind"`
	Lane    string    `json:"lane"` // people, deploys or large
	Objects int       `json:"objects"`
	Since   time.Time `json:"since"` // when the oldest purge of them was opened
}

// Requests counts requests of one kind that have not ended.
type Requests struct {
	Kind    string `json:"kind"`
	Ready   int    `json:"ready"`   // wait to be sent again
	Sending int    `json:"sending"` // wait for Akamai's answer
	Objects int    `json:"objects"` // in both
}

// Held counts what waits for a person.
type Held struct {
	Purges  int `json:"purges"`
	Objects int `json:"objects"`
}

// Bucket is one of the account's token buckets as the server models it now.
type Bucket struct {
	Bucket    string  `json:"bucket"` // requests, url, tag or cpcode
	Tokens    int     `json:"tokens"`
	Capacity  int     `json:"capacity"`
	PerSecond float64 `json:"per_second"`
}

// Acted is the answer to a retry, a release and a cancel.
type Acted struct {
	Purge Purge `json:"purge"` // as it is now
	Freed int   `json:"freed"` // objects that wait again, of a retry
}

func pointDoc(p ledger.Point) *Point {
	if p.IsZero() {
		return nil
	}
	return &Point{SHA: p.SHA, Deployment: p.Deploy, Since: p.At.UTC()}
}

func (a *API) purgeDoc(p ledger.Purge, repository string) Purge {
	words := report.Purge(p, a.Now())
	return Purge{
		ID: p.ID, URL: a.PublicURL + "/purges/" + p.Key, Repository: repository, Environment: p.Environment,
		Network: string(p.Network), Cause: string(p.Cause), By: p.By, From: p.From.SHA, To: p.To.SHA,
		Lane: laneName(p.Lane), State: string(p.State), Result: words.State, Words: words.Description,
		URLs: p.Counts.URLs, Tags: p.Counts.Tags, CPCodes: p.Counts.CPCodes,
		Total: p.Counts.Total(), Accepted: p.Counts.Accepted, Failed: p.Counts.Failed,
		CreatedAt: p.CreatedAt, OpenedAt: p.OpenedAt, DoneAt: p.DoneAt,
	}
}

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
