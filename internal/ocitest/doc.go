// Package ocitest serves OCI registries on loopback for tests: a real one in
// memory, with and without the referrers API, and the same with faults.
//
// # Trust
//
// For tests only: the registries check nobody and forget everything.
package ocitest
