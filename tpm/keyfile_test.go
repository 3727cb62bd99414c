package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

var exported = cmp.AllowUnexported(keyFile{})

var ellipticCurves = map[key.Algorithm]elliptic.Curve{
	key.P256: elliptic.P256(), key.P384: elliptic.P384(), key.P521: elliptic.P521(),
}

// point is a public key as a TPM writes it.
func point(t testing.TB, k *ecdsa.PublicKey) *tpm2.TPMSECCPoint {
	t.Helper()
	encoded, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := (len(encoded) - 1) / 2
	return &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: encoded[1 : 1+half]},
		Y: tpm2.TPM2BECCParameter{Buffer: encoded[1+half:]},
	}
}

// sample makes a key file's content for a key made in software.
func sample(t testing.TB, alg key.Algorithm) *keyFile {
	t.Helper()
	public := template(alg, key.SSH, false)
	if bits, isRSA := rsaSizes[alg]; isRSA {
		// Odd and of full length is all that is asked of a modulus here, and
		// to search for primes takes seconds.
		modulus := make([]byte, bits/8)
		rand.Read(modulus)
		modulus[0], modulus[len(modulus)-1] = modulus[0]|0x80, modulus[len(modulus)-1]|1
		public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: modulus})
	} else {
		k, err := ecdsa.GenerateKey(ellipticCurves[alg], rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		public.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, point(t, &k.PublicKey))
	}
	yes := true
	return &keyFile{
		kind: oidLoadable, emptyAuth: &yes, parent: ownerHierarchy,
		public: tpm2.Marshal(public), private: []byte("a wrapped private key"),
	}
}

// full has every optional field.
func full(t testing.TB) *keyFile {
	t.Helper()
	k := sample(t, key.P256)
	no, text := false, "a comment, with ü"
	k.kind, k.emptyAuth, k.rsaParent, k.description = oidImportable, &no, &no, &text
	k.secret = []byte("an encrypted secret")
	k.parent = 0x81000001
	var b cryptobyte.Builder
	policy := func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addExplicit(b, 0, func(b *cryptobyte.Builder) { b.AddASN1Uint64(0x16b) })
				addExplicit(b, 1, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nil) })
			})
		})
	}
	policy(&b)
	k.policy = b.BytesOrPanic()
	// [6] {INTEGER 7}, and [8] of another type
	k.unknown = []byte{0xA6, 0x03, 0x02, 0x01, 0x07, 0x88, 0x01, 0x00}
	b = cryptobyte.Builder{}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addExplicit(b, 0, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte("name")) })
			})
			addExplicit(b, 1, policy)
		})
	})
	k.authPolicy = b.BytesOrPanic()
	return k
}

func mustEncode(t testing.TB, k *keyFile) []byte {
	t.Helper()
	der, err := k.encodeDER()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestKeyFileRoundTrip(t *testing.T) {
	files := map[string]*keyFile{"every field": full(t)}
	for _, alg := range key.Algorithms {
		files[string(alg)] = sample(t, alg)
	}
	bare := sample(t, key.P256)
	bare.emptyAuth = nil
	files["no optional field"] = bare
	for name, want := range files {
		data, err := want.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseKeyFile(data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got, exported); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestKeyFileThatWouldGrow: a file of one long line, which is just small enough to
// be read, is not replaced by one that is not.
func TestKeyFileThatWouldGrow(t *testing.T) {
	k := sample(t, key.P256)
	k.unknown = append([]byte{0x86, 0x82, 0x2e, 0xe0}, make([]byte, 0x2ee0)...)
	text := base64.StdEncoding.EncodeToString(mustEncode(t, k))
	line := "-----BEGIN " + pemLabel + "-----\n" + text + "\n-----END " + pemLabel + "-----\n"
	read, err := parseKeyFile([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if data, err := read.encode(); err == nil {
		t.Errorf("a file of %d bytes became one of %d", len(line), len(data))
	}
}

func TestPublicKeyOfEveryAlgorithm(t *testing.T) {
	for _, alg := range key.Algorithms {
		var k storedKey
		if err := k.fill(sample(t, alg)); err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if k.info.Algorithm != alg || k.info.Usage != key.SSH || k.info.Policy.PIN || k.unfit != nil {
			t.Errorf("%s: %+v, %v", alg, k.info, k.unfit)
		}
	}
}

// TestCoordinateWithoutItsZeros: some TPMs leave leading zeros out.
func TestCoordinateWithoutItsZeros(t *testing.T) {
	for {
		k, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		p := point(t, &k.PublicKey)
		if p.X.Buffer[0] != 0 {
			continue // one in two
		}
		p.X.Buffer = bytes.TrimLeft(p.X.Buffer, "\x00")
		if got, err := ecKey(tpm2.TPMECCNistP521, p); err != nil || !k.PublicKey.Equal(got) {
			t.Errorf("%v, %v", got, err)
		}
		return
	}
}

// TestWhatOthersWrite: what the draft and older writers leave open.
func TestWhatOthersWrite(t *testing.T) {
	file := sample(t, key.P256)
	der := mustEncode(t, file)
	one := bytes.Replace(der, []byte{0xA0, 0x03, 0x01, 0x01, 0xFF}, []byte{0xA0, 0x03, 0x01, 0x01, 0x01}, 1)
	file.kind = oidOld
	old := mustEncode(t, file)
	file.kind, file.emptyAuth = oidLoadable, nil
	silent := mustEncode(t, file)
	for name, c := range map[string]struct {
		der  []byte
		asks bool
	}{
		"TRUE as 1":                {one, false},
		"type before the draft":    {old, false},
		"silent about the PIN":     {silent, true},
		"the way that we write it": {der, false},
	} {
		file, err := parseKeyDER(c.der)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var k storedKey
		if err := k.fill(file); err != nil || k.unfit != nil || k.info.Policy.PIN != c.asks {
			t.Errorf("%s: %v, %v, %+v", name, err, k.unfit, k.info.Policy)
		}
	}
	if file, err := parseKeyDER(one); err != nil || !bytes.Equal(mustEncode(t, file), der) {
		t.Errorf("TRUE as 1 is not written as DER: %v", err)
	}
}

// TestForeignKeyFile reads a file that tpm2_encodeobject (tpm2-tools 5.4) wrote.
func TestForeignKeyFile(t *testing.T) {
	for _, path := range testenv.Glob(t, "testdata/*.tpm") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parseKeyFile(data)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var k storedKey
		if err := k.fill(file); err != nil || k.unfit != nil {
			t.Errorf("%s: %v, %v", path, err, k.unfit)
		}
		if k.info.Usage != key.SSH {
			t.Errorf("%s: usage %q of a key without a label", path, k.info.Usage)
		}
	}
}

func TestKeysWeCannotUse(t *testing.T) {
	change := func(f func(*tpm2.TPMTPublic)) func(*keyFile) {
		return func(k *keyFile) {
			public, err := parsePublic(k.public)
			if err != nil {
				t.Fatal(err)
			}
			f(public)
			k.public = tpm2.Marshal(public)
		}
	}
	for name, c := range map[string]func(*keyFile){
		"importable":       func(k *keyFile) { k.kind = oidImportable },
		"sealed":           func(k *keyFile) { k.kind = oidSealed },
		"transient parent": func(k *keyFile) { k.parent = 0x80000001 },
		"lockout parent":   func(k *keyFile) { k.parent = 0x4000000A },
		"no parent":        func(k *keyFile) { k.parent = 0 },
		"policy":           change(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.UserWithAuth = false }),
		"restricted":       change(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Restricted = true }),
		"decrypts":         change(func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SignEncrypt = false }),
	} {
		file := sample(t, key.P256)
		c(file)
		var k storedKey
		if err := k.fill(file); err != nil || k.unfit == nil {
			t.Errorf("%s: %v, %v; want a key that can be listed and not used", name, err, k.unfit)
		}
	}
	for name, c := range map[string]func(*keyFile){
		"not on the curve": change(func(p *tpm2.TPMTPublic) {
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: []byte{1}}})
		}),
		"too long": change(func(p *tpm2.TPMTPublic) {
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: make([]byte, 33)}})
		}),
		"P-521": change(func(p *tpm2.TPMTPublic) {
			p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP521})
		}),
	} {
		file := sample(t, key.P256)
		c(file)
		if err := new(storedKey).fill(file); err == nil {
			t.Errorf("%s: listed", name)
		}
	}
	small := sample(t, key.RSA2048)
	change(func(p *tpm2.TPMTPublic) {
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: []byte{5}})
	})(small)
	if err := new(storedKey).fill(small); err == nil {
		t.Error("an RSA key of 3 bits was listed")
	}
}

func TestMalformedKeyFiles(t *testing.T) {
	good := mustEncode(t, full(t))
	longer := func(extra ...byte) []byte { // content added inside the SEQUENCE
		inner := append(bytes.Clone(good[4:]), extra...)
		return append([]byte{0x30, 0x82, byte(len(inner) >> 8), byte(len(inner))}, inner...)
	}
	noSecret := full(t)
	noSecret.secret = nil
	shorter := bytes.Clone(good)
	shorter[bytes.Index(good, []byte{0x00, 0x23, 0x00, 0x0B})-1]--
	for name, der := range map[string][]byte{
		"empty":              nil,
		"bytes after":        append(bytes.Clone(good), 0),
		"bytes at end":       longer(0x05, 0x00),
		"cut":                good[:len(good)-1],
		"wrong type":         bytes.Replace(good, []byte{0x67, 0x81, 0x05, 0x0A, 0x01, 0x04}, []byte{0x67, 0x81, 0x05, 0x0A, 0x01, 0x07}, 1),
		"order of fields":    bytes.Replace(good, []byte{0xA0, 0x03, 0x01, 0x01}, []byte{0xA5, 0x03, 0x01, 0x01}, 1),
		"negative parent":    bytes.Replace(good, []byte{0x02, 0x05, 0x00, 0x81}, []byte{0x02, 0x05, 0x80, 0x81}, 1),
		"no secret":          mustEncode(t, noSecret),
		"size of public":     shorter,
		"parent too large":   bytes.Replace(good, []byte{0x02, 0x05, 0x00, 0x81}, []byte{0x02, 0x05, 0x01, 0x81}, 1),
		"long BOOLEAN":       bytes.Replace(good, []byte{0xA0, 0x03, 0x01, 0x01}, []byte{0xA0, 0x03, 0x01, 0x00}, 1),
		"length not minimal": bytes.Replace(good, []byte{0xA0, 0x03, 0x01, 0x01, 0x00}, []byte{0xA0, 0x81, 0x02, 0x01, 0x00}, 1),
		"not UTF-8":          bytes.Replace(good, []byte("ü"), []byte{0xC3, 0x20}, 1),
		"size of private":    bytes.Replace(good, []byte("\x00\x15a wrapped"), []byte("\x00\x14a wrapped"), 1),
	} {
		if bytes.Equal(der, good) {
			t.Errorf("%s: the case changes nothing", name)
		}
		if _, err := parseKeyDER(der); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	block := string(pem.EncodeToMemory(&pem.Block{Type: pemLabel, Bytes: good}))
	for name, text := range map[string]string{
		"before":      "x\n" + block,
		"after":       block + "x\n",
		"two":         block + block,
		"other label": strings.ReplaceAll(block, "TSS2 ", "EC "),
		"header":      strings.Replace(block, "-----\n", "-----\nComment: x\n\n", 1),
		"too large":   block + strings.Repeat("\n", 17<<10),
	} {
		if _, err := parseKeyFile([]byte(text)); err == nil {
			t.Errorf("PEM, %s: accepted", name)
		}
	}
	if _, err := parseKeyFile([]byte("\n" + block + "\n")); err != nil {
		t.Errorf("PEM with empty lines around it: %v", err)
	}
}

// TestUnknownFields: what follows [5] is kept byte for byte, if it is what a later
// draft can be: fields in their order, each DER.
func TestUnknownFields(t *testing.T) {
	nested := func(depth int) []byte { // [6] holding SEQUENCEs
		b := []byte{0x30, 0x00}
		for range depth - 1 {
			b = append([]byte{0x30, byte(len(b))}, b...)
		}
		return append([]byte{0xA6, byte(len(b))}, b...)
	}
	file := sample(t, key.P256)
	for name, unknown := range map[string][]byte{
		"one":     {0xA6, 0x03, 0x02, 0x01, 0x07},
		"several": {0xA6, 0x00, 0x87, 0x01, 0xFF, 0x9E, 0x00},
		"nested":  nested(limits.TPMKeyFileDepth),
	} {
		file.unknown = unknown
		der := mustEncode(t, file)
		got, err := parseKeyDER(der)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(mustEncode(t, got), der) || !bytes.Equal(got.unknown, unknown) {
			t.Errorf("%s: %x", name, got.unknown)
		}
	}
	for name, unknown := range map[string][]byte{
		"out of order":    {0xA7, 0x00, 0xA6, 0x00},
		"twice":           {0xA6, 0x00, 0x86, 0x00},
		"known":           {0xA5, 0x03, 0x01, 0x01, 0xFF, 0xA5, 0x00},
		"known, later":    {0xA6, 0x00, 0xA0, 0x03, 0x01, 0x01, 0xFF},
		"universal":       {0x04, 0x00},
		"application":     {0x46, 0x00},
		"private":         {0xC6, 0x00},
		"high tag number": {0xBF, 0x1F, 0x00},
		"long length":     {0xA6, 0x81, 0x00},
		"no length":       {0xA6, 0x80, 0x00, 0x00},
		"cut inside":      {0xA6, 0x02, 0x02, 0x01},
		"not DER inside":  {0xA6, 0x04, 0x02, 0x81, 0x01, 0x00},
		"too deep":        nested(limits.TPMKeyFileDepth + 1),
	} {
		file.unknown = unknown
		if _, err := parseKeyDER(mustEncode(t, file)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzKeyFile: what is accepted means the same after encoding, and encodes to
// the same bytes but for the octet of a BOOLEAN.
func FuzzKeyFile(f *testing.F) {
	f.Add(mustEncode(f, full(f)))
	for _, alg := range key.Algorithms {
		f.Add(mustEncode(f, sample(f, alg)))
	}
	for _, path := range testenv.Glob(f, "testdata/*.tpm") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		block, _ := pem.Decode(data)
		f.Add(block.Bytes)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := parseKeyDER(der)
		if err != nil {
			return
		}
		again := mustEncode(t, k)
		if len(again) != len(der) {
			t.Fatalf("%x\nencodes to\n%x", der, again)
		}
		for i := range der {
			if der[i] != again[i] && again[i] != 0xff {
				t.Fatalf("%x\nencodes to\n%x", der, again)
			}
		}
		parsed, err := parseKeyDER(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(k, parsed, exported, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		var stored storedKey
		if stored.fill(k) == nil && stored.info.ID == "" {
			t.Fatal("a key without an ID")
		}
	})
}
