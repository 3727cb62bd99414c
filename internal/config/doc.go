// Package config reads the configuration file.
//
// # Trust
//
// Who can write the file decides which device is used, which program asks for
// PINs, and what keys may sign, so a file that others can write is refused. The
// file is parsed by [strictyaml]: an unknown or repeated setting is an error
// with its line, never a silent default.
package config
