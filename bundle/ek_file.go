package bundle

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// EKFile is what a file of EK certificates holds. Anybody can have made it up.
type EKFile struct {
	EKs []*x509.Certificate // at least one
	// Helpers are certificates of CAs that came with them, for
	// [Anchors.VerifyEK].
	Helpers []*x509.Certificate
}

// ParseEKFile reads what EK certificates come in: DER, alone or as a TPM's NV memory
// holds it, with zeros or ones behind it up to the end of the index; PEM; and the
// JSON of Intel's service, with the DER in base64url. Of PEM with several
// certificates those of CAs, after the first, are helpers, and all others are EK
// certificates. Its error is an [*EKError].
func ParseEKFile(data []byte) (*EKFile, error) {
	f, err := parseEKFile(data)
	if err != nil {
		return nil, refuse(Malformed, "%v", err)
	}
	return f, nil
}

func parseEKFile(data []byte) (*EKFile, error) {
	switch {
	case len(data) == 0:
		return nil, errors.New("it is empty")
	case data[0] == sequence:
		der, err := cutPadding(data)
		if err != nil {
			return nil, err
		}
		return oneEK(der)
	case bytes.Contains(data, []byte(pemBegin)):
		return parseEKPEM(data)
	case bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		der, err := jsonEK(data)
		if err != nil {
			return nil, err
		}
		return oneEK(der)
	}
	return nil, fmt.Errorf("its %d bytes are neither DER nor PEM, nor JSON with a certificate", len(data))
}

func oneEK(der []byte) (*EKFile, error) {
	c, err := parseStranger(der)
	if err != nil {
		return nil, err
	}
	return &EKFile{EKs: []*x509.Certificate{c}}, nil
}

// parseStranger parses a certificate; the library's errors may quote it.
func parseStranger(der []byte) (*x509.Certificate, error) {
	if len(der) > limits.BundleCertificate {
		return nil, fmt.Errorf("the certificate has more than %d bytes", limits.BundleCertificate)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("not a certificate: %s", quote(err.Error()))
	}
	return c, nil
}

// cutPadding takes away what fills an NV index behind its certificate: all zeros or
// all ones, as memory that was cleared or never written.
func cutPadding(data []byte) ([]byte, error) {
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(data, &outer)
	if err != nil {
		return nil, errors.New("the DER in it is not whole")
	}
	if len(rest) > 0 && (rest[0] != 0x00 && rest[0] != 0xff || !bytes.Equal(rest[1:], rest[:len(rest)-1])) {
		return nil, fmt.Errorf("%d bytes after the certificate are neither all 00 nor all FF", len(rest))
	}
	return outer.FullBytes, nil
}

func parseEKPEM(data []byte) (*EKFile, error) {
	var f EKFile
	err := eachBlock(string(data), "CERTIFICATE", limits.BundleCertificate, func(der []byte) error {
		c, err := parseStranger(der)
		switch {
		case err != nil:
			return err
		case len(f.EKs) == 0 || !c.IsCA:
			f.EKs = append(f.EKs, c)
		case len(f.Helpers) == limits.BundleHelpers:
			return fmt.Errorf("more than %d certificates of CAs after the first", limits.BundleHelpers)
		default:
			f.Helpers = append(f.Helpers, c)
		}
		return nil
	})
	return &f, err
}

// jsonEK takes the DER out of what Intel's service answers. The padding may be there
// or not, and as a URL writes it.
func jsonEK(data []byte) ([]byte, error) {
	var answer struct {
		Certificate once `json:"certificate"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("JSON: %s", quote(err.Error()))
	}
	if answer.Certificate == "" {
		return nil, errors.New("JSON without a certificate")
	}
	text := strings.NewReplacer("%3D", "=", "%3d", "=").Replace(string(answer.Certificate))
	der, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, errors.New("JSON with a certificate that is not in base64url")
	}
	return der, nil
}

// once is a text that is in an object once, however its name is written: of several,
// readers take different ones.
type once string

// UnmarshalJSON implements json.Unmarshaler.
func (o *once) UnmarshalJSON(data []byte) error {
	if *o != "" {
		return errors.New("more than one certificate")
	}
	return json.Unmarshal(data, (*string)(o))
}
