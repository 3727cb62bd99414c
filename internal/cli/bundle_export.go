package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// bundleExportFlags are the flags of `bundle export`.
type bundleExportFlags struct {
	format, output string
	vendors        vendorFilter
	passwordFD     int
	hasPasswordFD  bool
	noPassword     bool
}

// The formats of `bundle export`.
const (
	exportPEM     = "pem"
	exportP7B     = "p7b"
	exportPKCS12  = "pkcs12"
	exportHashed  = "hashed-dir"
	exportVendors = "per-vendor"
)

func exportFormats() []string {
	return []string{exportPEM, exportP7B, exportPKCS12, exportHashed, exportVendors}
}

// javaPassword is what Java's own trust stores are opened with: no secret.
const javaPassword = "changeit"

func (a *app) bundleExport() *cobra.Command {
	var f bundleExportFlags
	c := &cobra.Command{
		Use:   "export BUNDLE...|DIR --format FORMAT --output PATH",
		Short: "write the certificates of TPM CA bundles in other formats",
		Long: `Export writes the certificates of CA bundles, or of a release's folder, for programs
that read other formats. Each certificate is written once.

  pem         certificates only, without a line of comment
  p7b         PKCS#7 in DER, for Windows and others
  pkcs12      trust store for Java 12 and later
  hashed-dir  folder for OpenSSL's -CApath, with names as by openssl rehash
  per-vendor  folder with a PEM file for each vendor: IFX.pem

  sealsmith bundle export release --format hashed-dir --output cas
  sealsmith bundle export release/tpm-ca-certificates.pem --format pkcs12 --output roots.p12

The same bundles give the same bytes, except for a pkcs12 with a password, which has
random salts. Its password is "changeit", as everywhere in Java, unless one comes
from --password-fd; with --no-password it has none, which Java can read, too.

Java trusts every certificate of a trust store, and OpenSSL with -partial_chain every
one of a folder: give the roots alone if chains must end in a root.

A folder must be new, or hold only what would be written again: nothing in it is ever
replaced. Export does not say who made the bundles: run sealsmith bundle verify first.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.hasPasswordFD = cmd.Flags().Changed("password-fd")
			if err := f.check(args); err != nil {
				return err
			}
			return a.runBundleExport(f, args)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.format, "format", "", strings.Join(exportFormats(), ", "))
	flags.StringVar(&f.output, "output", "", "`PATH` of the file, - for standard output, or of the folder")
	f.vendors.register(c, "export only the certificates of vendor `ID[,ID]`")
	flags.IntVar(&f.passwordFD, "password-fd", -1, "read the line of the pkcs12 file's password from file descriptor `N`")
	flags.BoolVar(&f.noPassword, "no-password", false, "write a pkcs12 file without password: neither encrypted nor with a MAC")
	cobra.CheckErr(c.MarkFlagRequired("format"))
	cobra.CheckErr(c.MarkFlagRequired("output"))
	return c
}

// folder says whether the output is a folder.
func (f *bundleExportFlags) folder() bool {
	return f.format == exportHashed || f.format == exportVendors
}

func (f *bundleExportFlags) check(args []string) error {
	switch {
	case !slices.Contains(exportFormats(), f.format):
		return hint.Wrap(usageError(fmt.Errorf("%.80q is no format of export", f.format)), "give one of "+strings.Join(exportFormats(), ", "))
	case f.output == "":
		return usageError(errors.New("--output is empty"))
	case f.folder() && f.output == "-":
		return usageError(fmt.Errorf("%s is a folder, which does not go to a stream", f.format))
	case f.format != exportPKCS12 && (f.hasPasswordFD || f.noPassword):
		return usageError(fmt.Errorf("%s has no password", f.format))
	case f.hasPasswordFD && f.noPassword:
		return usageError(errors.New("--password-fd and --no-password exclude each other"))
	case f.hasPasswordFD && f.passwordFD == 0 && slices.Contains(args, "-"):
		return usageError(errors.New("standard input cannot be both the bundle and the password"))
	}
	for _, path := range args {
		if sameFile(path, f.output) {
			return usageError(fmt.Errorf("--output %.200q is what is to be exported", f.output))
		}
	}
	return f.vendors.check()
}

// sameFile says whether both are there and the same, by whatever name.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func (a *app) runBundleExport(f bundleExportFlags, args []string) error {
	bundles, err := a.readBundles(args...)
	if err != nil {
		return err
	}
	var certs []bundle.Certificate
	intermediates := false
	for _, m := range bundle.Members(bundles...) {
		if f.vendors.wants(m.Vendor) {
			certs = append(certs, m.Certificate)
			intermediates = intermediates || m.Kind == bundle.Intermediates
		}
	}
	if len(certs) == 0 {
		return fmt.Errorf("there is no certificate of %s", strings.Join(f.vendors, ", "))
	}
	if f.folder() {
		return a.exportFolder(f, certs)
	}
	var data []byte
	switch f.format {
	case exportPEM:
		data = bundle.ExportPEM(certs)
	case exportP7B:
		data, err = bundle.ExportPKCS7(certs)
	case exportPKCS12:
		if intermediates {
			a.say("sealsmith: warning: Java trusts each certificate of a trust store by itself, and these have intermediates")
		}
		data, err = f.pkcs12(a, certs)
	}
	if err != nil {
		return err
	}
	if err := a.writeResult(f.output, data); err != nil || f.output == "-" {
		return err
	}
	fmt.Fprintln(a.Out, f.output)
	return nil
}

// pkcs12 makes a trust store with the password that the flags name.
func (f *bundleExportFlags) pkcs12(a *app, certs []bundle.Certificate) (data []byte, err error) {
	switch {
	case f.noPassword:
		return bundle.ExportPKCS12(certs, nil)
	case !f.hasPasswordFD:
		return bundle.ExportPKCS12(certs, []byte(javaPassword))
	}
	password, err := a.readLine(f.passwordFD, "password", limits.Passphrase)
	if err != nil {
		return nil, hint.Wrap(err, "write one line to it, or give --no-password")
	}
	defer password.Wipe()
	err = password.Use(func(text []byte) (err error) {
		data, err = bundle.ExportPKCS12(certs, text)
		return err
	})
	return data, err
}

// exportFolder writes into a folder in which nothing else is, and names the files.
func (a *app) exportFolder(f bundleExportFlags, certs []bundle.Certificate) error {
	var out bundle.Output
	var err error
	if f.format == exportHashed {
		out.Files, err = bundle.ExportHashed(certs)
	} else {
		out.Files = bundle.ExportVendors(certs)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.output, 0o755); err != nil {
		return err
	}
	if err := onlySame(f.output, out.Files); err != nil {
		return hint.Wrap(err, "give --output a new folder; if other programs read this one, put the new one in its place")
	}
	if err := out.Write(f.output); err != nil {
		return err
	}
	for _, file := range out.Files {
		fmt.Fprintln(a.Out, filepath.Join(f.output, file.Name))
	}
	return nil
}

// onlySame refuses a folder with anything but regular files that are already as they
// would be written: what is called the same may be somebody else's.
func onlySame(dir string, files []bundle.File) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	content := map[string][]byte{}
	for _, file := range files {
		content[file.Name] = file.Data
	}
	for _, entry := range entries {
		want, ours := content[entry.Name()]
		if !ours || !entry.Type().IsRegular() {
			return fmt.Errorf("%s holds %.200q, which is not of this export", dir, entry.Name())
		}
		got, err := readFile(filepath.Join(dir, entry.Name()), limits.BundleFile)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%s holds another %s", dir, entry.Name())
		}
	}
	return nil
}
