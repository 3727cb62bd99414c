package dsse

import (
	"bytes"
	"strings"
	"testing"

	oracle "github.com/secure-systems-lab/go-securesystemslib/dsse"
)

func TestPAE(t *testing.T) {
	for _, c := range []struct{ payloadType, payload, want string }{
		// The example of the protocol's own page.
		{"http://example.com/HelloWorld", "hello world", "DSSEv1 29 http://example.com/HelloWorld 11 hello world"},
		{"", "", "DSSEv1 0  0 "},
		{"a b", " 1 ", "DSSEv1 3 a b 3  1 "},
		{"é", "\x00\xff", "DSSEv1 2 é 2 \x00\xff"},
	} {
		got := PAE(c.payloadType, []byte(c.payload))
		if string(got) != c.want {
			t.Errorf("PAE(%q, %q) = %q, want %q", c.payloadType, c.payload, got, c.want)
		}
		if other := oracle.PAE(c.payloadType, []byte(c.payload)); !bytes.Equal(got, other) {
			t.Errorf("go-securesystemslib says %q, we say %q", other, got)
		}
		payloadType, payload, err := ParsePAE(got)
		if err != nil || payloadType != c.payloadType || string(payload) != c.payload {
			t.Errorf("ParsePAE(%q) = %q, %q, %v", got, payloadType, payload, err)
		}
	}
}

func TestParsePAERefuses(t *testing.T) {
	for _, text := range []string{
		"",
		"DSSEv1",
		"DSSEv1 ",
		"DSSEv2 1 a 1 b",
		"dssev1 1 a 1 b",
		"DSSEv1 01 a 1 b",
		"DSSEv1 +1 a 1 b",
		"DSSEv1 -1 a 1 b",
		"DSSEv1  1 a 1 b",
		"DSSEv1 1 a1 b",
		"DSSEv1 1 a 1",
		"DSSEv1 1 a 1 ",
		"DSSEv1 1 a 1 bc",
		"DSSEv1 1 a 01 b",
		"DSSEv1 2 a 1 b",
		"DSSEv1 9 a 1 b",
		"DSSEv1 1 a 2 b",
		"DSSEv1 0x1 a 1 b",
		"DSSEv1 9223372036854775807 a 1 b",
		"DSSEv1 18446744073709551617 a 1 b",
		"DSSEv1 " + strings.Repeat("0", 1000) + "1 a 1 b",
	} {
		if payloadType, payload, err := ParsePAE([]byte(text)); err == nil {
			t.Errorf("ParsePAE(%q) = %q, %q", text, payloadType, payload)
		}
	}
}

// FuzzParsePAE checks that what is accepted re-encodes to itself, and that any
// payload survives the way there and back.
func FuzzParsePAE(f *testing.F) {
	for _, text := range []string{"", "DSSEv1 1 a 1 b", "DSSEv1 0  0 ", "DSSEv1 01 a 1 b", "DSSEv1 3 a b 3  1 "} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if payloadType, payload, err := ParsePAE(b); err == nil {
			if again := PAE(payloadType, payload); !bytes.Equal(again, b) {
				t.Fatalf("accepted %q, re-encoded %q", b, again)
			}
		}
		cut := len(b) / 3
		payloadType, payload, err := ParsePAE(PAE(string(b[:cut]), b[cut:]))
		if err != nil || payloadType != string(b[:cut]) || !bytes.Equal(payload, b[cut:]) {
			t.Fatalf("%q, %q came back as %q, %q, %v", b[:cut], b[cut:], payloadType, payload, err)
		}
	})
}
