package catalog

import _ "embed" // for the lists

var (
	//go:embed roots.yaml
	roots string
	//go:embed intermediates.yaml
	intermediates string
)

// Roots is the list of root CA certificates, as YAML. Each call returns a copy.
func Roots() []byte { return []byte(roots) }

// Intermediates is the list of intermediate CA certificates, as YAML. Each call
// returns a copy.
func Intermediates() []byte { return []byte(intermediates) }
