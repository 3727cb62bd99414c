package bundle

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// sequence is the first byte of a certificate's DER.
const sequence = 0x30

// pemBegin opens a block of any type.
const pemBegin = "-----BEGIN "

// bodyDER returns the one DER structure that a site answered with: bare, in PEM
// with or without text around it, or in base64 without armour. It does not look
// into the structure. Errors say what came instead.
func bodyDER(body []byte) ([]byte, error) {
	switch trimmed := bytes.TrimSpace(body); {
	case len(body) == 0:
		return nil, errors.New("an empty body came")
	case body[0] == sequence: // "0" in text, with which base64 of DER never begins
		return exactDER(body)
	case bytes.Contains(body, []byte(pemBegin)):
		return pemDER(body)
	case len(trimmed) > 0 && trimmed[0] == '<':
		return nil, errors.New("an HTML or XML page came")
	}
	text := strings.Join(strings.Fields(string(body)), "")
	if der, err := base64.StdEncoding.DecodeString(text); err == nil && len(der) > 0 && der[0] == sequence {
		return exactDER(der)
	}
	return nil, fmt.Errorf("%d bytes came that are neither DER nor PEM", len(body))
}

func exactDER(b []byte) ([]byte, error) {
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(b, &outer)
	switch {
	case err != nil || b[0] != sequence:
		return nil, fmt.Errorf("%d bytes came that are no whole DER structure", len(b))
	case len(rest) > 0:
		return nil, fmt.Errorf("%d bytes came after the certificate", len(rest))
	}
	return b, nil
}

func pemDER(body []byte) ([]byte, error) {
	block, rest := pem.Decode(body)
	blocks := bytes.Count(body, []byte(pemBegin))
	switch {
	case block == nil:
		return nil, errors.New("damaged PEM came")
	case blocks > 1:
		return nil, fmt.Errorf("%d PEM blocks came; one certificate is wanted", blocks)
	case block.Type != "CERTIFICATE":
		return nil, fmt.Errorf("PEM of type %s came", quote(block.Type))
	case bytes.Contains(rest, []byte("-----END ")):
		return nil, errors.New("damaged PEM came")
	}
	return exactDER(block.Bytes)
}
