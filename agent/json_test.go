package agent

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/key"
)

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
		if raw, ok := names["form"]; ok && string(raw) != "null" && first.Form == "" && string(raw) != `""` {
			t.Fatalf("%q has a form that was not read", data)
		}
		if _, ok := names["form"]; !ok && first.Form != "" {
			t.Fatalf("%q has no form and %q was read", data, first.Form)
		}
	})
}

// FuzzParseStatement checks that the subjects shown are those that other readers
// of the payload see.
func FuzzParseStatement(f *testing.F) {
	f.Add([]byte(aStatement))
	f.Add([]byte(`{"subject":[{"name":"a","digest":{"sha256":"00"}}],"Subject":[]}`))
	f.Add([]byte(`{"subject":null}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		_, subjects, err := parseStatement(payload)
		if err != nil {
			return
		}
		var generic map[string]any
		if err := json.Unmarshal(payload, &generic); err != nil {
			t.Fatalf("accepted %q: %v", payload, err)
		}
		list, _ := generic["subject"].([]any)
		if len(list) != len(subjects) {
			t.Fatalf("%q has %d subjects, %d are shown", payload, len(list), len(subjects))
		}
		for i, one := range list {
			object, _ := one.(map[string]any)
			if name, _ := object["name"].(string); !strings.HasPrefix(subjects[i], name) {
				t.Fatalf("subject %q is shown as %q", name, subjects[i])
			}
		}
	})
}
