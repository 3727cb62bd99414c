// Package sigtest is the test kit for signatures: cosign, and keys in software
// that sign only what they recognise, as the agent's remote keys do.
//
// # Trust
//
// For tests only. The private keys are in plain memory.
package sigtest
