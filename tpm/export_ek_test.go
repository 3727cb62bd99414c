package tpm

import "github.com/google/go-tpm/tpm2"

// EKTemplate is a template of the EK Credential Profile.
func EKTemplate(name string) tpm2.TPMTPublic {
	for _, t := range ekTemplates {
		if t.name == name {
			return t.area
		}
	}
	panic("no template " + name)
}
