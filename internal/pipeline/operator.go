package pipeline

import (
	"github.com/purgebot/purgebot/internal/ledger"
	"github.com/purgebot/purgebot/internal/policy"
	"github.com/purgebot/purgebot/internal/store"
)

// Judge judges the targets of a purge for the operator, by the policy of this
// moment: what nobody may purge for the repository, OWNER/NAME, stays refused.
// No role binds the operator, who wrote the policy.
func (p *Pipeline) Judge(repository string, purge ledger.Purge) store.Judge {
	j := &judgement{grant: p.Policy.For(repository), role: policy.Admin, purge: purge}
	return j.again
}
