package provenance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// schema is the fields that an object may have, by their exact names; nil means
// any. The elements of an array have the schema of the array.
type schema map[string]schema

var statementSchema = schema{
	"_type": nil, "predicateType": nil, "predicate": nil,
	"subject": {
		"name": nil, "uri": nil, "digest": nil, "content": nil,
		"downloadLocation": nil, "mediaType": nil, "annotations": nil,
	},
}

// checkJSON refuses what encoding/json lets pass: a field given twice (the last
// would win), unknown or differently spelt fields (it ignores case), deep
// nesting, and text that is not UTF-8.
func checkJSON(b []byte) error {
	if len(b) > limits.Statement {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrStatement, len(b), limits.Statement)
	}
	if !utf8.Valid(b) {
		return fmt.Errorf("%w: not UTF-8", ErrStatement)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := checkValue(d, statementSchema, limits.StatementDepth); err != nil {
		return fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: text behind the statement", ErrStatement)
	}
	return nil
}

func checkValue(d *json.Decoder, s schema, depth int) error {
	if depth == 0 {
		return fmt.Errorf("more than %d levels", limits.StatementDepth)
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		err = checkObject(d, s, depth)
	case json.Delim('['):
		for err == nil && d.More() {
			err = checkValue(d, s, depth-1)
		}
	default:
		return nil
	}
	if err == nil {
		_, err = d.Token() // the closing bracket
	}
	return err
}

func checkObject(d *json.Decoder, s schema, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name := token.(string) // the decoder gives nothing else here
		if _, known := s[name]; s != nil && !known {
			return fmt.Errorf("unknown field %.200q", name)
		}
		if seen[name] {
			return fmt.Errorf("field %.200q given twice", name)
		}
		seen[name] = true
		if err := checkValue(d, s[name], depth-1); err != nil {
			return err
		}
	}
	return nil
}
