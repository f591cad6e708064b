package server

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/connectors"
	"github.com/latchkey-idp/latchkey/internal/web"
	"github.com/latchkey-idp/latchkey/login"
	"github.com/latchkey-idp/latchkey/provider"
	"github.com/latchkey-idp/latchkey/templates"
)

// UpstreamPreviewRequest asks what a sign-in through a connector with certain claims would lead to.
type UpstreamPreviewRequest struct {
	Connector string
	ClientID  string   // the application the person comes from; "" = none
	Scope     []string // that it would ask for; nil = all it may
	Claims    []byte   // what the upstream says: see connectors.Describer
	Disowned  bool     // the person says that the account which has the address is not theirs
}

// UpstreamPreview is whose account the claims would open, what would change, and what the application's tokens would say. Nothing of it happened.
type UpstreamPreview struct {
	login.DryRun
	Off    bool     `json:"off,omitempty"`    // the connector is switched off: this is what would be if it were on
	Text   string   `json:"text"`             // the decision in an English sentence; Key and Args say it in any language
	Client *Preview `json:"client,omitempty"` // the application's side, where somebody would be signed in
}

// MaxPreviewClaims is how many bytes of claims PreviewUpstream takes.
const MaxPreviewClaims = connectors.MaxDocument

// PreviewError is why there is no preview. It is for who asked: by Key and Args on a page, by Error in English.
type PreviewError struct {
	Field string // connector, client or claims
	Key   string
	Args  map[string]any
	text  string
}

func (e *PreviewError) Error() string { return e.text }

// previewing is what both who serve a preview have.
type previewing struct {
	texts   *templates.Set
	known   []string // connectors, for who mistyped one
	dryRun  func(context.Context, login.DryRunRequest, func(context.Context, *login.DryRun) error) (*login.DryRun, error)
	preview func(context.Context, provider.PreviewRequest) (*provider.Preview, error)
}

// PreviewUpstream says what a sign-in through a connector with these claims would lead to, by the code that signs people in and makes tokens, in a
// transaction that is undone. Beside trouble with the database its error is a *PreviewError. It tells about people: who may call it is the
// caller's to check. A connector that is switched off can be tried too.
func (c *Console) PreviewUpstream(ctx context.Context, r UpstreamPreviewRequest) (*UpstreamPreview, error) {
	dry, err := c.dryRunner(r.Connector)
	if err != nil {
		return nil, err
	}
	texts, err := pages(c.cfg, false)
	if err != nil {
		return nil, err
	}
	v := previewing{texts: texts, dryRun: dry.DryRun, preview: c.previewer(dry).Preview}
	for _, k := range c.cfg.Connectors {
		v.known = append(v.known, k.ID)
	}
	out, err := v.run(ctx, r)
	if err == nil {
		out.Off = !slices.Contains(c.Connectors(), r.Connector)
	}
	return out, err
}

// dryRunner has the connectors that are switched on, and also.
func (c *Console) dryRunner(also string) (*login.DryRunner, error) {
	cfg := *c.cfg
	cfg.Connectors = slices.Clone(cfg.Connectors)
	for i := range cfg.Connectors {
		if k := &cfg.Connectors[i]; k.ID == also {
			k.Enabled = true
		}
	}
	ups, err := upstreams(&cfg, web.Outbound(false), c.now)
	if err != nil {
		return nil, err
	}
	return login.NewDryRunner(login.DryRunConfig{Store: c.Store, Connectors: ups, NoPassword: !cfg.Login.Password.Enabled, Mail: cfg.Mail.On(), Factors: factorPolicy(&cfg)})
}

func (c *Console) previewer(dry *login.DryRunner) *provider.Previewer {
	return provider.NewPreviewer(provider.Config{Issuer: c.cfg.Issuer, Store: c.Store, Owes: dry.Owes, LeastACR: dry.LeastACR, MostACR: dry.MostACR, FirstOwed: dry.FirstOwed,
		AccessLife: c.cfg.Tokens.AccessTTL, IDTokenLife: c.cfg.Tokens.IDTTL})
}

// PreviewUpstream is Console.PreviewUpstream with what this server runs with: a connector that is switched off is none here.
func (s *Server) PreviewUpstream(ctx context.Context, r UpstreamPreviewRequest) (*UpstreamPreview, error) {
	v := previewing{texts: s.templates, known: s.login.Connectors(), dryRun: s.login.DryRun, preview: s.provider.Preview}
	return v.run(ctx, r)
}

func (v previewing) run(ctx context.Context, r UpstreamPreviewRequest) (*UpstreamPreview, error) {
	out := &UpstreamPreview{}
	dry, err := v.dryRun(ctx, login.DryRunRequest{Connector: r.Connector, ClientID: r.ClientID, Claims: r.Claims, Disowned: r.Disowned}, func(ctx context.Context, d *login.DryRun) (err error) {
		out.Client = nil // of an earlier try
		if r.ClientID == "" {
			return nil
		}
		out.Client, err = v.preview(ctx, provider.PreviewRequest{UserID: d.UserID, ClientID: r.ClientID, Scope: r.Scope, Connector: d.WayIn, AMR: d.AMR, ACR: d.ACR})
		return err
	})
	if bad, ok := errors.AsType[*connectors.DocumentError](err); ok {
		line, character := place(r.Claims, bad.At)
		return nil, v.problem("claims", "preview.document_"+bad.Problem, map[string]any{"Name": bad.Name, "KiB": MaxPreviewClaims >> 10,
			"Line": strconv.Itoa(line), "Character": strconv.Itoa(character)})
	}
	switch {
	case errors.Is(err, login.ErrDryConnector):
		return nil, v.problem("connector", "preview.no_connector", map[string]any{"ID": r.Connector, "Known": strings.Join(v.known, ", ")})
	case errors.Is(err, login.ErrDryClient), errors.Is(err, provider.ErrNoClient):
		return nil, v.problem("client", "preview.no_client", map[string]any{"ID": r.ClientID})
	case err != nil:
		return nil, err
	}
	out.DryRun, out.Text = *dry, v.texts.Text("en", dry.Key, dry.Args)
	return out, nil
}

// place is the line and the character of a byte, all counted from 1.
func place(text []byte, at int64) (line, character int) {
	before := text[:max(0, min(at-1, int64(len(text))))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte("\n")) + 1, utf8.RuneCount(before[start:]) + 1
}

func (v previewing) problem(field, key string, args map[string]any) error {
	return &PreviewError{Field: field, Key: key, Args: args, text: v.texts.Text("en", key, args)}
}

// Ways a sign-in can end in an UpstreamPreview's Decision.
const (
	PreviewEnter   = login.DryEnter
	PreviewCreate  = login.DryCreate
	PreviewAwait   = login.DryAwait
	PreviewClaim   = login.DryClaim
	PreviewJoin    = login.DryJoin
	PreviewProve   = login.DryProve
	PreviewAddress = login.DryAddress
	PreviewRefuse  = login.DryRefuse
)
