package provenance

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var enrolled = Enrolment{
	EKCertificateSHA256: zeros, AKName: sha256Name + strings.Repeat("1", 64),
	Time: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC),
}

const enrolment = `{"_type":"https://in-toto.io/Statement/v1","subject":[` +
	`{"name":"ek certificate","digest":{"sha256":"0000000000000000000000000000000000000000000000000000000000000000"}},` +
	`{"name":"attestation key","digest":{"sha256":"1111111111111111111111111111111111111111111111111111111111111111"}}],` +
	`"predicateType":"https://sealsmith.github.io/tpm-enrolment/v1","predicate":{` +
	`"ek_cert_sha256":"0000000000000000000000000000000000000000000000000000000000000000",` +
	`"ak_name":"000b1111111111111111111111111111111111111111111111111111111111111111","time":"2026-11-20T12:00:00Z"}}`

func TestEnrolment(t *testing.T) {
	s, err := enrolled.Statement()
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Marshal()
	if err != nil || string(text) != enrolment {
		t.Errorf("%s, %v", text, err)
	}
	if s, err = ParseStatement(text); err != nil {
		t.Fatal(err)
	}
	if e, err := ParseEnrolment(s); err != nil || e != enrolled {
		t.Errorf("came back as %+v, %v", e, err)
	}
}

func TestEnrolmentRefuses(t *testing.T) {
	for name, change := range map[string]func(*Enrolment){
		"no certificate":  func(e *Enrolment) { e.EKCertificateSHA256 = "" },
		"capital letters": func(e *Enrolment) { e.EKCertificateSHA256 = strings.Repeat("A", 64) },
		"no Name":         func(e *Enrolment) { e.AKName = "" },
		"Name by SHA-384": func(e *Enrolment) { e.AKName = "000c" + zeros + zeros[:32] },
		"Name cut":        func(e *Enrolment) { e.AKName = e.AKName[:66] },
		"no time":         func(e *Enrolment) { e.Time = time.Time{} },
		"time somewhere":  func(e *Enrolment) { e.Time = e.Time.In(time.FixedZone("here", 3600)) },
	} {
		e := enrolled
		change(&e)
		if _, err := e.Statement(); !errors.Is(err, ErrStatement) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct{ old, new string }{
		"other subject":      {`"sha256":"1111`, `"sha256":"2111`},
		"other EK":           {`{"sha256":"0000`, `{"sha256":"2000`},
		"other Name":         {`"ak_name":"000b11`, `"ak_name":"000b21`},
		"subject's name":     {`"name":"attestation key"`, `"name":"key"`},
		"more in a subject":  {`"name":"attestation key"`, `"uri":"x","name":"attestation key"`},
		"more in a digest":   {`{"sha256":"1111`, `{"sha1":"` + zeros[:40] + `","sha256":"1111`},
		"type":               {"/v1\",\"predicate\"", "/v2\",\"predicate\""},
		"more in predicate":  {`,"time"`, `,"x":1,"time"`},
		"spelling":           {`"time"`, `"Time"`},
		"order":              {`"predicate":{"ek_cert_sha256":"` + zeros + `",`, `"predicate":{`},
		"time with fraction": {"12:00:00Z", "12:00:00.0Z"},
		"time somewhere":     {"12:00:00Z", "12:00:00+00:00"},
		"no time":            {`"2026-11-20T12:00:00Z"`, `null`},
		"number":             {`"2026-11-20T12:00:00Z"`, `7`},
	} {
		changed := strings.Replace(enrolment, c.old, c.new, 1)
		if changed == enrolment {
			t.Fatalf("%s changes nothing", name)
		}
		s, err := ParseStatement([]byte(changed))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e, err := ParseEnrolment(s); !errors.Is(err, ErrStatement) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}
