package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/key"
)

// maxJSONDepth bounds nesting; statements in use have fewer than ten levels.
const maxJSONDepth = 32

// decodeJSON reads one JSON object strictly: UTF-8, no unknown or repeated
// names, names spelt exactly, nothing behind it. Its errors wrap [key.ErrUsage].
func decodeJSON(data []byte, into any) error {
	if err := checkJSON(data, plainName); err != nil {
		return fmt.Errorf("request body: %w: %w", err, key.ErrUsage)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("request body: %w: %w", err, key.ErrUsage)
	}
	return nil
}

// plainName allows the names of our own objects. encoding/json would match
// others to them that differ in case.
func plainName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return true
}

// checkJSON refuses what readers of JSON disagree about: repeated names, other
// encodings, trailing data. The value must be an object whose names satisfy ok.
func checkJSON(data []byte, ok func(name string) bool) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	first, err := d.Token()
	if err != nil {
		return err
	}
	if first != json.Delim('{') {
		return errors.New("not an object")
	}
	if err := checkObject(d, ok, 1); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data behind the object")
	}
	return nil
}

// checkObject reads the members of an object and its end.
func checkObject(d *json.Decoder, ok func(string) bool, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name := t.(string) // the decoder allows nothing else here
		if seen[name] || !ok(name) {
			return fmt.Errorf("repeated or unknown name %.80q", name)
		}
		seen[name] = true
		if err := checkValue(d, ok, depth); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func checkValue(d *json.Decoder, ok func(string) bool, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if depth >= maxJSONDepth {
		return errors.New("nested too deeply")
	}
	switch t {
	case json.Delim('{'):
		return checkObject(d, ok, depth+1)
	case json.Delim('['):
		for d.More() {
			if err := checkValue(d, ok, depth+1); err != nil {
				return err
			}
		}
		_, err := d.Token()
		return err
	}
	return nil
}

// parseStatement reads what a prompt shows of an in-toto statement, the one type
// of payload that is signed
// (https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md). Its
// errors wrap [key.ErrUsage].
func parseStatement(payload []byte) (predicate string, subjects []string, err error) {
	bad := func(err error) error { return fmt.Errorf("payload is no in-toto statement: %w: %w", err, key.ErrUsage) }
	if err := checkJSON(payload, func(string) bool { return true }); err != nil {
		return "", nil, bad(err)
	}
	// Maps, because a struct would match names of another case.
	var top map[string]json.RawMessage
	var list []map[string]json.RawMessage
	err = errors.Join(json.Unmarshal(payload, &top), member(top, "predicateType", &predicate), member(top, "subject", &list))
	for _, one := range list {
		var name string
		var digests map[string]string
		err = errors.Join(err, member(one, "name", &name), member(one, "digest", &digests))
		if sum := digests["sha256"]; sum != "" {
			name += " sha256:" + sum
		}
		subjects = append(subjects, name)
	}
	if err != nil {
		return "", nil, bad(err)
	}
	return predicate, subjects, nil
}

// member decodes a member of an object; without one it leaves into alone.
func member(object map[string]json.RawMessage, name string, into any) error {
	if raw, ok := object[name]; ok {
		return json.Unmarshal(raw, into)
	}
	return nil
}
