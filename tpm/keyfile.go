package tpm

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// pemLabel is the PEM type of a TSS2 key file.
const pemLabel = "TSS2 PRIVATE KEY"

// The types of key files.
var (
	oidLoadable   = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}
	oidImportable = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 4}
	oidSealed     = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 5}
	oidOld        = asn1.ObjectIdentifier{2, 23, 133, 10, 2} // loadable, before the draft
)

// keyFile is a TSS2 key file (draft-bottomley-tpm2-keys, section 3.1). Fields
// that are kept raw are whole DER elements, checked when they were parsed.
type keyFile struct {
	kind        asn1.ObjectIdentifier
	emptyAuth   *bool  // nil: absent, so nobody knows
	policy      []byte // SEQUENCE OF TPMPolicy, raw; nil: absent
	secret      []byte // TPM2B_ENCRYPTED_SECRET; nil: absent
	authPolicy  []byte // SEQUENCE OF TPMAuthPolicy, raw; nil: absent
	description *string
	rsaParent   *bool
	unknown     []byte // fields of a later draft, raw; nil: none
	parent      uint32
	public      []byte // TPMT_PUBLIC, without its size
	private     []byte // TPM2B_PRIVATE's content, without its size
}

// parseKeyFile parses a PEM key file: exactly one block, nothing around it.
func parseKeyFile(data []byte) (*keyFile, error) {
	if len(data) > limits.TPMKeyFile {
		return nil, fmt.Errorf("key file of more than %d bytes", limits.TPMKeyFile)
	}
	data = bytes.TrimSpace(data)
	if !bytes.HasPrefix(data, []byte("-----BEGIN "+pemLabel+"-----")) {
		return nil, errors.New("not a " + pemLabel + " file")
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemLabel || len(block.Headers) != 0 || len(rest) != 0 {
		return nil, errors.New("not exactly one PEM block")
	}
	k, err := parseKeyDER(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	return k, nil
}

// encode is the inverse of parseKeyFile. It fails rather than make a file that
// parseKeyFile would not read, in place of one with longer lines, say.
func (k *keyFile) encode() ([]byte, error) {
	der, err := k.encodeDER()
	if err != nil {
		return nil, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: pemLabel, Bytes: der})
	if len(data) > limits.TPMKeyFile {
		return nil, fmt.Errorf("key file of more than %d bytes", limits.TPMKeyFile)
	}
	return data, nil
}

func parseKeyDER(der []byte) (*keyFile, error) {
	input := cryptobyte.String(der)
	var s cryptobyte.String
	if !input.ReadASN1(&s, cbasn1.SEQUENCE) || !input.Empty() {
		return nil, errors.New("not one SEQUENCE")
	}
	k := &keyFile{}
	if !s.ReadASN1ObjectIdentifier(&k.kind) {
		return nil, errors.New("no type")
	}
	if !k.kind.Equal(oidLoadable) && !k.kind.Equal(oidImportable) && !k.kind.Equal(oidSealed) && !k.kind.Equal(oidOld) {
		return nil, fmt.Errorf("unknown type %v", k.kind)
	}
	if err := k.parseOptional(&s); err != nil {
		return nil, err
	}
	if k.kind.Equal(oidImportable) && k.secret == nil {
		return nil, errors.New("importable key without its secret")
	}
	var public, private cryptobyte.String
	if !s.ReadASN1Integer(&k.parent) {
		return nil, errors.New("bad parent")
	}
	if !s.ReadASN1(&public, cbasn1.OCTET_STRING) || !s.ReadASN1(&private, cbasn1.OCTET_STRING) || !s.Empty() {
		return nil, errors.New("bad end: want public area, private area and nothing more")
	}
	var ok bool
	if k.public, ok = sized(public); !ok {
		return nil, errors.New("size of the public area is wrong")
	}
	if k.private, ok = sized(private); !ok {
		return nil, errors.New("size of the private area is wrong")
	}
	if _, err := parsePublic(k.public); err != nil {
		return nil, err
	}
	return k, nil
}

// parseOptional parses the fields [0] to [5], each of which may be absent, and
// those that follow them.
func (k *keyFile) parseOptional(s *cryptobyte.String) error {
	var err error
	if k.emptyAuth, err = readFlag(s, 0); err != nil {
		return fmt.Errorf("emptyAuth: %w", err)
	}
	if k.policy, err = readPolicies(s, 1, isPolicy); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	field, found, err := readExplicit(s, 2)
	if found && (!field.ReadASN1((*cryptobyte.String)(&k.secret), cbasn1.OCTET_STRING) || !field.Empty()) {
		err = errMalformed
	}
	if err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	if k.authPolicy, err = readPolicies(s, 3, isAuthPolicy); err != nil {
		return fmt.Errorf("authPolicy: %w", err)
	}
	if k.description, err = readText(s, 4); err != nil {
		return fmt.Errorf("description: %w", err)
	}
	if k.rsaParent, err = readFlag(s, 5); err != nil {
		return fmt.Errorf("rsaParent: %w", err)
	}
	k.unknown, err = readUnknown(s)
	return err
}

// readUnknown reads the fields from [6] on, which the draft does not have yet: a
// program that changes a key's PIN must not lose what another wrote.
func readUnknown(s *cryptobyte.String) ([]byte, error) {
	start := []byte(*s)
	for last := cbasn1.Tag(5); ; {
		rest := *s
		var content cryptobyte.String
		var tag cbasn1.Tag
		if !rest.ReadAnyASN1(&content, &tag) || tag&classMask != cbasn1.Tag(0).ContextSpecific() {
			if len(start) == len(*s) {
				return nil, nil
			}
			return start[:len(start)-len(*s)], nil
		}
		number := tag & numberMask
		if number <= last || tag&constructed != 0 && !isDER(content, limits.TPMKeyFileDepth) {
			return nil, fmt.Errorf("field [%d]: %w", number, errMalformed)
		}
		last, *s = number, rest
	}
}

// The parts of a tag (X.690, section 8.1.2).
const (
	classMask   cbasn1.Tag = 0xc0
	constructed cbasn1.Tag = 0x20
	numberMask  cbasn1.Tag = 0x1f
)

// isDER says whether b is a series of DER elements that are nested no deeper.
func isDER(b cryptobyte.String, depth int) bool {
	for !b.Empty() {
		var content cryptobyte.String
		var tag cbasn1.Tag
		if !b.ReadAnyASN1(&content, &tag) {
			return false
		}
		if tag&constructed != 0 && (depth == 0 || !isDER(content, depth-1)) {
			return false
		}
	}
	return true
}

var errMalformed = errors.New("malformed")

// readExplicit reads the content of an explicitly tagged field, if it is next.
func readExplicit(s *cryptobyte.String, tag uint8) (field cryptobyte.String, found bool, err error) {
	if !s.ReadOptionalASN1(&field, &found, cbasn1.Tag(tag).Constructed().ContextSpecific()) {
		return nil, false, errMalformed
	}
	return field, found, nil
}

// readFlag reads a BOOLEAN. BER's TRUE is any octet but zero, and older writers
// use 1.
func readFlag(s *cryptobyte.String, tag uint8) (*bool, error) {
	field, found, err := readExplicit(s, tag)
	if err != nil || !found {
		return nil, err
	}
	var octet cryptobyte.String
	if !field.ReadASN1(&octet, cbasn1.BOOLEAN) || !field.Empty() || len(octet) != 1 {
		return nil, errMalformed
	}
	value := octet[0] != 0
	return &value, nil
}

func readText(s *cryptobyte.String, tag uint8) (*string, error) {
	field, found, err := readExplicit(s, tag)
	if err != nil || !found {
		return nil, err
	}
	var text cryptobyte.String
	if !field.ReadASN1(&text, cbasn1.UTF8String) || !field.Empty() || !utf8.Valid(text) {
		return nil, errMalformed
	}
	value := string(text)
	return &value, nil
}

// readPolicies reads a SEQUENCE OF elements that check accepts, and returns it
// raw: we keep what we cannot run.
func readPolicies(s *cryptobyte.String, tag uint8, check func(cryptobyte.String) bool) ([]byte, error) {
	field, found, err := readExplicit(s, tag)
	if err != nil || !found {
		return nil, err
	}
	raw := []byte(field)
	var list cryptobyte.String
	if !field.ReadASN1(&list, cbasn1.SEQUENCE) || !field.Empty() {
		return nil, errMalformed
	}
	for !list.Empty() {
		var element cryptobyte.String
		if !list.ReadASN1(&element, cbasn1.SEQUENCE) || !check(element) {
			return nil, errMalformed
		}
	}
	return raw, nil
}

// isPolicy checks a TPMPolicy: command code and parameters.
func isPolicy(element cryptobyte.String) bool {
	code, found, err := readExplicit(&element, 0)
	var value uint32
	if err != nil || !found || !code.ReadASN1Integer(&value) || !code.Empty() {
		return false
	}
	parameters, found, err := readExplicit(&element, 1)
	var octets cryptobyte.String
	return err == nil && found && parameters.ReadASN1(&octets, cbasn1.OCTET_STRING) && parameters.Empty() && element.Empty()
}

// isAuthPolicy checks a TPMAuthPolicy: an optional name and a policy.
func isAuthPolicy(element cryptobyte.String) bool {
	if _, err := readText(&element, 0); err != nil {
		return false
	}
	policy, err := readPolicies(&element, 1, isPolicy)
	return err == nil && policy != nil && element.Empty()
}

// sized strips the size of a TPM2B, which must be the length of what follows.
func sized(b cryptobyte.String) ([]byte, bool) {
	var content cryptobyte.String
	ok := b.ReadUint16LengthPrefixed(&content) && b.Empty() && !content.Empty()
	return content, ok
}

func (k *keyFile) encodeDER() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(k.kind)
		if k.emptyAuth != nil {
			addExplicit(b, 0, func(b *cryptobyte.Builder) { b.AddASN1Boolean(*k.emptyAuth) })
		}
		if k.policy != nil {
			addExplicit(b, 1, func(b *cryptobyte.Builder) { b.AddBytes(k.policy) })
		}
		if k.secret != nil {
			addExplicit(b, 2, func(b *cryptobyte.Builder) { b.AddASN1OctetString(k.secret) })
		}
		if k.authPolicy != nil {
			addExplicit(b, 3, func(b *cryptobyte.Builder) { b.AddBytes(k.authPolicy) })
		}
		if k.description != nil {
			addExplicit(b, 4, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(*k.description)) })
			})
		}
		if k.rsaParent != nil {
			addExplicit(b, 5, func(b *cryptobyte.Builder) { b.AddASN1Boolean(*k.rsaParent) })
		}
		b.AddBytes(k.unknown)
		b.AddASN1Uint64(uint64(k.parent))
		for _, area := range [][]byte{k.public, k.private} {
			b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) {
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(area) })
			})
		}
	})
	return b.Bytes()
}

func addExplicit(b *cryptobyte.Builder, tag uint8, f cryptobyte.BuilderContinuation) {
	b.AddASN1(cbasn1.Tag(tag).Constructed().ContextSpecific(), f)
}
