package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/purgebot/purgebot/internal/ledger"
)

// TakeWrite takes one of the writes that GitHub allows an installation, for all replicas
// together. wait 0: it is taken, write now. Else nothing is taken, and wait is the least
// time until it is worth asking again.
func (s *Store) TakeWrite(ctx context.Context, installation int64, u ledger.Urgency) (wait time.Duration, err error) {
	err = s.write(ctx, func(t *tx) error {
		var packed []byte
		// The row is the lock: other replicas wait for it.
		err := t.row(ctx, `INSERT INTO pace (installation, writes) VALUES ($1, $2)
			ON CONFLICT (installation) DO UPDATE SET writes = pace.writes RETURNING writes`, installation, []byte{}).Scan(&packed)
		if err != nil {
			return err
		}
		var writes ledger.Writes
		if writes, wait = unpackTimes(packed).Take(s.now(), u); wait > 0 {
			return nil
		}
		_, err = t.exec(ctx, `UPDATE pace SET writes = $2 WHERE installation = $1`, installation, packTimes(writes))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("take a write of installation %d: %w", installation, err)
	}
	return wait, nil
}

// packTimes writes times as a column has them: 8 bytes each, milliseconds since 1970, big
// endian.
func packTimes(times ledger.Writes) []byte {
	packed := make([]byte, 0, 8*len(times))
	for _, t := range times {
		packed = binary.BigEndian.AppendUint64(packed, uint64(ms(t))) //nolint:gosec // after 1970
	}
	return packed
}

// unpackTimes is the reverse of packTimes.
func unpackTimes(packed []byte) ledger.Writes {
	times := make(ledger.Writes, 0, len(packed)/8)
	for ; len(packed) >= 8; packed = packed[8:] {
		times = append(times, when(int64(binary.BigEndian.Uint64(packed)))) //nolint:gosec // as packed
	}
	return times
}

// PutOff gives a claimed surface back, to be written after a time: nothing went wrong, it
// is only too early. The claim does not count as a try.
func (s *Store) PutOff(ctx context.Context, p Post, after time.Duration) error {
	err := s.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, `UPDATE post SET next_at = $2, lease_until = 0, claims = claims - 1, rung_at = 0 WHERE surface = $1`,
			p.Surface, s.later(after))
		return err
	})
	if err != nil {
		return fmt.Errorf("put off %s: %w", p.Surface, err)
	}
	return nil
}
