package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// TestRefusedBodies: each is one that somebody could read in another way.
func TestRefusedBodies(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":        "",
		"not UTF-8":      "{\"subject\":\"\xff\"}",
		"byte order":     "\ufeff{}",
		"no object":      `null`,
		"array":          `{"subject":[]}`,
		"object":         `{"subject":{}}`,
		"null":           `{"subject":null}`,
		"another type":   `{"subject":1}`,
		"unknown name":   `{"object":"a"}`,
		"repeated name":  `{"subject":"a","subject":"a"}`,
		"other spelling": `{"Subject":"a"}`,
		"cut":            `{"subject":"a"`,
		"something more": `{"subject":"a"}{}`,
	} {
		if err := decodeJSON([]byte(body), new(signRequestBody)); !errors.Is(err, key.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := decodeJSON([]byte(` {"subject":"a"} `), new(signRequestBody)); err != nil {
		t.Error(err)
	}
}

// FuzzDecodeJSON checks that what is accepted means the same when it is written
// again, and that no name was taken for another.
func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		`{"form":"digest","hash":"sha256","scheme":"ecdsa","digest":"AAAA"}`, `{"form":"blob","message":""}`, `{}`, `[]`,
		`{"form":"a","form":"b"}`, `{"Form":"a"}`, `{"subject":"\u202e"}`, `{"form":null}`, `{"payload":"AA==\n"}`, `{"form":"a"}x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, second signRequestBody
		if err := decodeJSON(data, &first); err != nil {
			if !errors.Is(err, key.ErrUsage) {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		if err := decodeJSON(again, &second); err != nil {
			t.Fatalf("%q written again as %q: %v", data, again, err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%q is %+v, written again %+v", data, first, second)
		}
		var names map[string]json.RawMessage
		if err := json.Unmarshal(data, &names); err != nil {
			t.Fatal(err)
		}
		if raw, ok := names["form"]; ok && first.Form == "" && string(raw) != `""` {
			t.Fatalf("%q has a form that was not read", data)
		}
		if _, ok := names["form"]; !ok && first.Form != "" {
			t.Fatalf("%q has no form and %q was read", data, first.Form)
		}
	})
}

// FuzzStatement checks that what is accepted as a statement is one for other
// readers too, and that every digest they see in it is shown.
func FuzzStatement(f *testing.F) {
	f.Add([]byte(aStatement))
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"Subject":[],` + aStatement[1:]))
	f.Add([]byte(strings.Replace(aStatement, `"gitCommit"`, `"b":"","a":"\u0020x","gitCommit"`, 1)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		b := signRequestBody{Form: FormDSSE, PayloadType: provenance.PayloadType, Payload: payload}
		var j signing
		j.Key.Algorithm = key.P256
		if err := b.signDSSE(&j); err != nil {
			if !errors.Is(err, key.ErrUsage) {
				t.Fatalf("%q: %v", payload, err)
			}
			return
		}
		var generic map[string]any
		if err := json.Unmarshal(payload, &generic); err != nil {
			t.Fatalf("accepted %q: %v", payload, err)
		}
		if generic["_type"] != provenance.StatementType || generic["predicateType"] != j.Statement.PredicateType {
			t.Fatalf("%q is shown as %q", payload, j.Statement.PredicateType)
		}
		var q Question
		q.addStatement(j.Statement)
		seen := 0
		for i, one := range generic["subject"].([]any) {
			for algorithm, value := range one.(map[string]any)["digest"].(map[string]any) {
				seen++
				text, _ := value.(string)
				fact := Fact{fmt.Sprintf("Subject %d", i+1), algorithm + ":" + text, !provenance.KnownDigest(algorithm)}
				if showable(j.Statement) == nil && !slices.Contains(q.Facts, fact) {
					t.Fatalf("%q: %+v is not among %+v", payload, fact, q.Facts)
				}
			}
		}
		if seen == 0 || seen != digests(j.Statement) {
			t.Fatalf("%q has %d digests, we count %d", payload, seen, digests(j.Statement))
		}
		for _, f := range q.Facts {
			if !f.Quoted && !unambiguous.MatchString(f.Value) {
				t.Fatalf("%q: %+v is shown without quotes", payload, f)
			}
		}
	})
}

// unambiguous is how facts of a statement look that are not quoted.
var unambiguous = regexp.MustCompile(`^([a-zA-Z0-9]+:[0-9a-f]+|[0-9]+ more digests)$`)
