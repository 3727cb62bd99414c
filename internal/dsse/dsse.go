package dsse

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Prefix begins every pre-authentication encoding, and nothing else that a key
// should sign.
const Prefix = "DSSEv1 "

var errMalformed = errors.New("malformed DSSE pre-authentication encoding")

// PAE is the pre-authentication encoding of a payload.
func PAE(payloadType string, payload []byte) []byte {
	b := make([]byte, 0, len(Prefix)+len(payloadType)+len(payload)+2*20+3)
	b = fmt.Appendf(b, "%s%d %s %d ", Prefix, len(payloadType), payloadType, len(payload))
	return append(b, payload...)
}

// ParsePAE is the strict inverse of [PAE]: it accepts exactly what PAE makes.
// The payload shares memory with b.
func ParsePAE(b []byte) (payloadType string, payload []byte, err error) {
	rest, found := bytes.CutPrefix(b, []byte(Prefix))
	if !found {
		return "", nil, fmt.Errorf("%w: no prefix", errMalformed)
	}
	n, rest, ok := cutLength(rest)
	if !ok || n >= len(rest) || rest[n] != ' ' {
		return "", nil, fmt.Errorf("%w: payload type", errMalformed)
	}
	payloadType, rest = string(rest[:n]), rest[n+1:]
	n, rest, ok = cutLength(rest)
	if !ok || n != len(rest) {
		return "", nil, fmt.Errorf("%w: payload", errMalformed)
	}
	return payloadType, rest, nil
}

// cutLength reads a decimal length in its only spelling and the space behind it.
func cutLength(b []byte) (n int, rest []byte, ok bool) {
	digits, rest, found := bytes.Cut(b, []byte(" "))
	if !found || len(digits) > 20 {
		return 0, nil, false
	}
	n, err := strconv.Atoi(string(digits))
	if err != nil || n < 0 || strconv.Itoa(n) != string(digits) {
		return 0, nil, false
	}
	return n, rest, true
}
