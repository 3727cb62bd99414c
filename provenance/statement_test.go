package provenance

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

var zeros = strings.Repeat("0", 64)

// image is an image signature's statement as cosign 3.1.3 wrote it.
const image = `{"_type":"https://in-toto.io/Statement/v1", "subject":[{"digest":{"sha256":"c35c67974c80bdec48c44f4bd5b08b690d1121a74a8378ad3d33882b1dc26b81"}, "annotations":{}}], "predicateType":"https://sigstore.dev/cosign/sign/v1", "predicate":{}}`

func TestImageSignature(t *testing.T) {
	cosigns, err := ParseStatement([]byte(image))
	if err != nil {
		t.Fatal(err)
	}
	ours, err := ImageSignature("sha256:c35c67974c80bdec48c44f4bd5b08b690d1121a74a8378ad3d33882b1dc26b81")
	if err != nil {
		t.Fatal(err)
	}
	cosigns.Subject[0].Annotations = nil // empty
	if d := cmp.Diff(cosigns, ours); d != "" {
		t.Error(d)
	}
	b, err := ours.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"c35c67974c80bdec48c44f4bd5b08b690d1121a74a8378ad3d33882b1dc26b81"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`
	if string(b) != want {
		t.Errorf("%s", b)
	}
	for _, digest := range []string{"", zeros, "sha256:", "sha256:" + zeros[1:], "sha512:" + zeros, "sha256:" + strings.Repeat("A", 64)} {
		if _, err := ImageSignature(digest); !errors.Is(err, ErrStatement) {
			t.Errorf("digest %q: %v", digest, err)
		}
	}
}

func TestNewStatement(t *testing.T) {
	subjects := []Subject{
		{Name: "b <&>", Digest: map[string]string{"sha512": zeros + zeros, "sha256": zeros}},
		{URI: "pkg:golang/x", Digest: map[string]string{"gitCommit": zeros[:40], "private": "anything"}},
	}
	s, err := NewStatement(subjects, "https://example.com/p/v1", map[string]any{"z": 1, "a": uint64(1<<63 + 1)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"b <&>","digest":{"sha256":"` + zeros +
		`","sha512":"` + zeros + zeros + `"}},{"uri":"pkg:golang/x","digest":{"gitCommit":"` + zeros[:40] +
		`","private":"anything"}}],"predicateType":"https://example.com/p/v1","predicate":{"a":9223372036854775809,"z":1}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	again, err := ParseStatement(b)
	if err != nil || !cmp.Equal(s, again) {
		t.Errorf("came back as %+v, %v", again, err)
	}
	library := &intoto.Statement{}
	if err := protojson.Unmarshal(b, library); err != nil || library.Validate() != nil {
		t.Errorf("in-toto's library: %v, %v", err, library.Validate())
	}
	if !s.HasDigest("sha256", zeros) || s.HasDigest("sha256", "") || s.HasDigest("sha384", "") || s.HasDigest("sha512", zeros) {
		t.Error("HasDigest")
	}
}

func TestNewStatementRefuses(t *testing.T) {
	good := []Subject{{Digest: map[string]string{"sha256": zeros}}}
	for name, c := range map[string]struct {
		subjects      []Subject
		predicateType string
		predicate     any
	}{
		"no subject":        {nil, "https://example.com", struct{}{}},
		"too many subjects": {make([]Subject, 1025), "https://example.com", struct{}{}},
		"no digest":         {[]Subject{{Name: "x"}}, "https://example.com", struct{}{}},
		"short digest":      {[]Subject{{Digest: map[string]string{"sha256": "00"}}}, "https://example.com", struct{}{}},
		"no predicate type": {good, "", struct{}{}},
		"type with a blank": {good, "https://example.com ", struct{}{}},
		"type not ASCII":    {good, "https://é.com", struct{}{}},
		"long type":         {good, strings.Repeat("x", 1025), struct{}{}},
		"predicate is list": {good, "https://example.com", []int{}},
		"predicate is null": {good, "https://example.com", nil},
		"predicate no JSON": {good, "https://example.com", func() {}},
	} {
		if s, err := NewStatement(c.subjects, c.predicateType, c.predicate); !errors.Is(err, ErrStatement) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	deep := any(map[string]int{})
	for range 40 {
		deep = map[string]any{"x": deep}
	}
	s, err := NewStatement(good, "https://example.com", deep)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Marshal(); !errors.Is(err, ErrStatement) {
		t.Errorf("deep predicate: %v", err)
	}
}

func TestParseStatementRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                  "",
		"null":                   "null",
		"list":                   "[" + image + "]",
		"trailing text":          image + "{}",
		"unknown field":          strings.Replace(image, `"predicate":`, `"x":1,"predicate":`, 1),
		"other case":             strings.Replace(image, `"predicate":`, `"Predicate":`, 1),
		"protobuf name":          strings.Replace(image, `"predicateType"`, `"predicate_type"`, 1),
		"protobuf name of type":  strings.Replace(image, `"_type"`, `"type"`, 1),
		"version 0.1":            strings.Replace(image, "Statement/v1", "Statement/v0.1", 1),
		"field twice":            strings.Replace(image, `"predicate":`, `"predicate":{},"predicate":`, 1),
		"field twice by escape":  strings.Replace(image, `"predicate":`, `"predicate":{},"\u0070redicate":`, 1),
		"digest twice":           strings.Replace(image, `"sha256":`, `"sha256":"`+zeros+`","sha256":`, 1),
		"twice in the predicate": strings.Replace(image, `"predicate":{}`, `"predicate":{"a":{"b":1,"b":1}}`, 1),
		"unknown subject field":  strings.Replace(image, `"annotations":`, `"anotations":`, 1),
		"no subject":             strings.Replace(image, `"subject":`, `"subject":[],"x":`, 1),
		"upper case digest":      strings.Replace(image, `c35c`, `C35C`, 1),
		"predicate is a string":  strings.Replace(image, `"predicate":{}`, `"predicate":"{}"`, 1),
		"deep":                   strings.Replace(image, `"predicate":{}`, `"predicate":{"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`, 1),
		"very deep":              strings.Repeat("[", 1<<20),
		"not UTF-8":              strings.Replace(image, `"predicate":{}`, "\"predicate\":{\"a\":\"\xff\"}", 1),
		"comma missing":          strings.Replace(image, `, "predicate":`, ` "predicate":`, 1),
		"too long":               image + strings.Repeat(" ", 4<<20),
	} {
		if s, err := ParseStatement([]byte(text)); !errors.Is(err, ErrStatement) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

// FuzzParseStatement checks that what is accepted means the same after it was
// encoded again, and that in-toto's own library, if it accepts it, reads the
// same subjects and predicate type.
func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(image))
	f.Add([]byte(strings.Replace(image, `"predicate":{}`, `"predicate":{"a":[1,{"b":null}],"c":1e5}`, 1)))
	f.Add([]byte(strings.Replace(image, `"annotations":{}`, `"name":"x","uri":"y","content":"AA=="`, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStatement(b)
		if err != nil {
			return
		}
		first, err := s.Marshal()
		if err != nil {
			return // escapes can make the encoding longer than the limit
		}
		again, err := ParseStatement(first)
		if err != nil {
			t.Fatalf("%s\nencoded as %s: %v", b, first, err)
		}
		if second, err := again.Marshal(); err != nil || string(second) != string(first) {
			t.Fatalf("%s\nthen %s, %v", first, second, err)
		}
		library := &intoto.Statement{}
		if protojson.Unmarshal(b, library) != nil {
			return
		}
		if library.GetType() != s.Type || library.GetPredicateType() != s.PredicateType || len(library.GetSubject()) != len(s.Subject) {
			t.Fatalf("%s\nthe library reads %v", b, library)
		}
		for i, subject := range library.GetSubject() {
			if d := cmp.Diff(subject.GetDigest(), s.Subject[i].Digest); d != "" {
				t.Fatal(d)
			}
		}
	})
}
