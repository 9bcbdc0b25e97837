package store

import (
	"context"

	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/purger"
)

// answersKept is how many of one request's last answers are kept if they decided nothing,
// such as those of an outage.
const answersKept = 20

// keep writes an answer down, whatever is decided about it. It deletes the one answer
// that is answersKept attempts older, unless that decided something.
func (x *settling) keep(ctx context.Context) error {
	if _, err := x.t.exec(ctx, `INSERT INTO answer (request_id, attempt, at, status, verdict, words, akamai_id, support_id)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT (request_id, attempt) DO NOTHING`,
		x.r.ID, x.r.Number, ms(x.b.now), x.a.Status, string(x.a.Verdict), x.a.Words(), x.a.PurgeID, x.a.SupportID); err != nil {
		return err
	}
	_, err := x.t.exec(ctx, `DELETE FROM answer WHERE request_id = $1 AND attempt = $2 AND verdict NOT IN ($3, $4, $5)`,
		x.r.ID, x.r.Number-answersKept, string(purger.Accepted), string(purger.Refused), string(purger.TooLarge))
	return err
}

// answerColumns are the columns of the answer a that decided the fate of a target of
// request r. An older release kept only the last answer, with the request, so its columns
// stand in.
const answerColumns = `COALESCE(a.at, 0), COALESCE(a.status, 0), COALESCE(a.words, ''),
	COALESCE(a.akamai_id, r.akamai_id, ''), COALESCE(a.support_id, r.support_id, '')`

// answerJoin joins them to a target t. A target without a deciding answer has attempt 0,
// which no answer has.
const answerJoin = ` LEFT JOIN request r ON r.id = t.request_id LEFT JOIN answer a ON a.request_id = t.request_id AND a.attempt = t.attempt `

// answerInto gives the places into which answerColumns are scanned.
func answerInto(at *int64, a *ledger.Answer) []any {
	return []any{at, &a.Status, &a.Words, &a.PurgeID, &a.SupportID}
}

// Answers lists what Akamai answered to the attempts of a request, the oldest
// first.
func (s *Reader) Answers(ctx context.Context, request string) (all []ledger.Answer, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(ctx, func(r row) error {
			var a ledger.Answer
			var at int64
			err := r.Scan(answerInto(&at, &a)...)
			a.At = when(at)
			all = append(all, a)
			return err
		}, `SELECT at, status, words, akamai_id, support_id FROM answer WHERE request_id = $1 ORDER BY attempt`, request)
	})
	return all, err
}
