package tpm

import (
	"bytes"
	"encoding/binary"
	"testing"
	"testing/iotest"
)

// FuzzAnswer: an accepted answer is the whole input, and says so itself, however
// the stream was cut into pieces.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0})
	f.Add([]byte{0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 1, 2})
	f.Add([]byte{0x80, 0x01, 0, 0, 0, 9, 0, 0, 0})
	f.Add([]byte{0x80, 0x01, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err := readAnswer(bytes.NewReader(stream))
		if err != nil {
			return
		}
		if !bytes.Equal(whole, stream) || int(binary.BigEndian.Uint32(whole[2:6])) != len(stream) {
			t.Fatalf("%x from %x", whole, stream)
		}
		pieces, err := readAnswer(iotest.OneByteReader(bytes.NewReader(stream)))
		if err != nil || !bytes.Equal(pieces, whole) {
			t.Fatalf("in pieces: %x, %v", pieces, err)
		}
	})
}
