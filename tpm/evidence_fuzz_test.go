package tpm_test

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/sealsmith/sealsmith/tpm"
)

// FuzzEvidence reads evidence: what is accepted has one form.
func FuzzEvidence(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add([]byte(v.Evidence))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := tpm.ParseEvidence(data)
		if err != nil {
			outcome(t, err)
			return
		}
		text, err := e.Encode()
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		again, err := tpm.ParseEvidence(text)
		if err != nil {
			t.Fatalf("written but not read: %v", err)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(text, second) {
			t.Errorf("two forms:\n%s\n%s", text, second)
		}
		_, err = tpm.VerifyAttestation(e, unboundOptions(nil))
		outcome(t, err)
	})
}

// FuzzVerifyAttestation changes good evidence: wherever its octets differ, it is
// refused.
func FuzzVerifyAttestation(f *testing.F) {
	v, ek := readVectors(f)["ok-nonce"], readRoots(f)
	e, err := tpm.ParseEvidence([]byte(v.Evidence))
	if err != nil {
		f.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(parts(e)))
	for i, name := range names {
		part := *parts(e)[name]
		f.Add(uint8(i), part)
		f.Add(uint8(i), part[1:])
		f.Add(uint8(i), append(bytes.Clone(part), 0))
		f.Add(uint8(i), binary.BigEndian.AppendUint16(nil, 0xffff))
	}
	f.Fuzz(func(t *testing.T, which uint8, octets []byte) {
		changed, err := tpm.ParseEvidence([]byte(v.Evidence))
		if err != nil {
			t.Fatal(err)
		}
		part := parts(changed)[names[int(which)%len(names)]]
		same := bytes.Equal(*part, octets)
		*part = octets
		text, err := changed.Encode()
		if err != nil {
			return
		}
		w := v
		w.Evidence = string(text)
		_, err = w.verify(t, ek)
		if accepted := outcome(t, err) == "ok"; accepted != same {
			t.Errorf("accepted: %v, the same evidence: %v, %v", accepted, same, err)
		}
	})
}

// FuzzChallenge reads a document as each kind; none is read as two.
func FuzzChallenge(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.Pending != "" {
			f.Add([]byte(v.Pending))
			f.Add([]byte(v.Answer))
		}
	}
	e, err := tpm.ParseEvidence([]byte(readVectors(f)["ok-nonce"].Evidence))
	if err != nil {
		f.Fatal(err)
	}
	challenge, _, err := tpm.NewChallenge(e, evidenceTime)
	if err != nil {
		f.Fatal(err)
	}
	text, err := challenge.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, data []byte) {
		kinds := 0
		check := func(document interface{ Encode() ([]byte, error) }, err error, again func([]byte) error) {
			if err != nil {
				outcome(t, err)
				return
			}
			kinds++
			text, err := document.Encode()
			if err != nil || again(text) != nil {
				t.Errorf("read, and not written so that it is read again: %v\n%s", err, text)
			}
		}
		c, err := tpm.ParseChallenge(data)
		check(c, err, func(b []byte) error { _, err := tpm.ParseChallenge(b); return err })
		a, err := tpm.ParseAnswer(data)
		check(a, err, func(b []byte) error { _, err := tpm.ParseAnswer(b); return err })
		p, err := tpm.ParsePending(data)
		check(p, err, func(b []byte) error { _, err := tpm.ParsePending(b); return err })
		if kinds > 1 {
			t.Errorf("read as %d kinds of document", kinds)
		}
	})
}
