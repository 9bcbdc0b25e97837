package store

import (
	"errors"

	"github.com/klauspost/compress/zstd"
)

const (
	// packWindow is how far back the compression looks, in bytes. It decides how much
	// memory an encoder needs; the size of what is packed does not.
	packWindow = 256 << 10

	// unpackedMost is more than anything that was ever packed, in bytes. It bounds the
	// memory that a damaged row can take.
	unpackedMost = 64 << 20
)

// compressor packs what is kept for long. It uses its encoder and decoder again and
// again: making one costs more than packing a webhook's body. It starts no goroutine and
// is safe for concurrent use.
type compressor struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// newCompressor makes a compressor. Decoder concurrency 0 means one decoder for each
// processor.
func newCompressor() (*compressor, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(packWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(unpackedMost), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, errors.Join(err, enc.Close())
	}
	return &compressor{enc: enc, dec: dec}, nil
}

func (c *compressor) pack(b []byte) []byte { return c.enc.EncodeAll(b, nil) }

func (c *compressor) unpack(b []byte) ([]byte, error) { return c.dec.DecodeAll(b, nil) }

func (c *compressor) close() error {
	c.dec.Close()
	return c.enc.Close()
}
