package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// mutant is one deliberate defect of a file of the product. It names functions, constants
// and what a condition is about, not the text of a line.
type mutant struct {
	name, file string
	edit       edit // nil: no defect
}

// An edit changes a parsed file, and reports whether it found what it changes.
type edit func(*ast.File) bool

var mutants = []mutant{
	{"half a lifetime becomes a whole one", "due.go", returns("dueAge", "lifetime")},
	{"replaced credentials are not noticed", "due.go", condition("due", false, "credentialsVersion")},
	{"there is no fallback", "rotator.go", condition("newToken", true, "previous", "err")},
	{"the fallback requests a token at every heartbeat", "due.go", returns("madeByFallback", "false")},
	{"the stored token is not probed", "rotator.go", condition("due", false, "ProbeRejected")},
	{"a rejected token is stored", "rotator.go", condition("tokenFrom", false, "ProbeRejected")},
	{"a token that is returned again gets a new lifetime", "rotator.go", condition("tokenFrom", false, "same")},
	{"a refusal is retried", "rotator.go", condition("requestToken", false, "Temporary")},
	{"a lost race is not retried", "rotator.go", constant("maxRounds", "1")},
	{"the loser of a race does not check the winner's token", "rotator.go", condition("put", true, "winner", "ProbeGood")},
	{"no time is reserved to store the token", "rotator.go", returns("withReserve", "context.WithCancel(ctx)")},
	{"Retry-After is not kept", "state.go", returns("holds", "time.Time{}")},
	{"a token is requested while none can be stored", "state.go", returns("unstored", "nil", "nil")},
	{"a report is believed without a probe", "state.go", returns("probeStored", "ProbeRejected")},
	{"everybody may claim at any time", "claim.go", returns("next", "claim{Rejected: version, Nonce: rand.Text()}", "true")},
	{"a lost race overwrites", "store.go", condition("PutToken", false, "labels", "awsCurrent", "replaces")},
	{"version ids are derived from the time", "store.go", returns("versionID", `fmt.Sprintf("%032x", now().UnixNano())`)},
	{"expired tokens are valid", "token.go", returns("Valid", `t.AccessToken.Reveal() != ""`)},
	{"the metric is constant", "token.go", returns("LifetimePercent", "100")},
	{"a failing store empties the cache", "cache.go", condition("update", true, "ErrUnknownTenant")},
	{"a request for a fresh token is not honoured", "cache.go", condition("stale", false, "fresh")},
}

// apply returns the source with the defect.
func (m mutant) apply(source []byte) ([]byte, error) {
	if m.edit == nil {
		return source, nil
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, m.file, source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	if !m.edit(file) {
		return nil, fmt.Errorf("%s has nothing to change", m.file)
	}
	file.Comments = nil // their places are wrong now
	var out bytes.Buffer
	err = format.Node(&out, files, file)
	return out.Bytes(), err
}

// constant replaces the value of a constant.
func constant(name, value string) edit {
	return func(file *ast.File) (found bool) {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Names) == 1 && spec.Names[0].Name == name {
				spec.Values, found = []ast.Expr{ast.NewIdent(value)}, true
			}
			return true
		})
		return found
	}
}

// returns makes a function return these values and do nothing else.
func returns(function string, values ...string) edit {
	return inFunction(function, func(body *ast.BlockStmt) bool {
		// What follows it stays, so that nothing becomes unused.
		body.List = slices.Insert(body.List, 0, ast.Stmt(&ast.ReturnStmt{Results: []ast.Expr{ast.NewIdent(strings.Join(values, ", "))}}))
		return true
	})
}

// condition makes conditions of a function true or false that mention all these names. They are
// still evaluated, as errors.As in them may have an effect.
func condition(function string, value bool, names ...string) edit {
	constant, operator := "false", token.LAND
	if value {
		constant, operator = "true", token.LOR
	}
	return inFunction(function, func(body *ast.BlockStmt) (found bool) {
		change := func(condition *ast.Expr) {
			if mentions(*condition, names) {
				*condition, found = &ast.BinaryExpr{X: &ast.ParenExpr{X: *condition}, Op: operator, Y: ast.NewIdent(constant)}, true
			}
		}
		ast.Inspect(body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.IfStmt:
				change(&n.Cond)
			case *ast.SwitchStmt:
				for _, clause := range n.Body.List {
					for i := range clause.(*ast.CaseClause).List {
						if n.Tag == nil {
							change(&clause.(*ast.CaseClause).List[i])
						}
					}
				}
			}
			return true
		})
		return found
	})
}

func inFunction(name string, change func(*ast.BlockStmt) bool) edit {
	return func(file *ast.File) (found bool) {
		for _, declaration := range file.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Name.Name == name {
				found = change(function.Body) || found
			}
		}
		return found
	}
}

func mentions(expression ast.Expr, names []string) bool {
	var found []string
	ast.Inspect(expression, func(n ast.Node) bool {
		if name, ok := n.(*ast.Ident); ok {
			found = append(found, name.Name)
		}
		return true
	})
	return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(found, name) })
}
