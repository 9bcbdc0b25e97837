package store

import (
	"errors"

	"github.com/klauspost/compress/zstd"
)

const (
	// packWindow is how far back the compression looks. It, not the size of
	// what is packed, is what an encoder needs of memory.
	packWindow = 256 << 10

	// unpackedMost is more than anything that was ever packed.
	unpackedMost = 64 << 20
)

// compressor packs what is kept for long. Its encoders and decoders are used
// again: making one costs more than packing a webhook's body. It starts
// nothing, and is safe for concurrent use.
type compressor struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

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
