//! From the parser's tree to ours: types checked, names resolved, places found.
//!
//! The parser's tree knows no places. It is walked in the order of the text, and each node takes
//! the tokens that are its own.

mod operands;
mod selectors;
mod strings;

use promql_parser::parser as p;

use super::ParseError;
use super::refuse::unsupported_name;
use super::tokens::Token;
use crate::promql::expr::{Aggregate, Call, Expr, ExprKind, Grouping, Span, Subquery, ValueType};
use crate::promql::{AggregateOp, Function};

/// A walk over the parser's tree and the text's tokens at once.
pub(super) struct Lowering<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
    /// The next token that no node has taken yet.
    next: usize,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(text: &'a str, tokens: &'a [Token<'a>]) -> Self {
        Self { text, tokens, next: 0 }
    }

    /// An expression with the sign and the brackets before it.
    pub(super) fn expr(&mut self, expr: &p::Expr) -> Result<Expr, ParseError> {
        self.skip_while(|token| token.is("+"));
        match expr {
            p::Expr::Paren(paren) => self.paren(paren),
            p::Expr::NumberLiteral(number) => {
                let start = self.here();
                // The sign of a number is a part of it.
                self.skip_while(|token| token.is("+") || token.is("-"));
                let span = start.to(self.take());
                Ok(Expr { kind: ExprKind::Number(number.val), span })
            }
            p::Expr::StringLiteral(_) => {
                let written = self.here_text();
                let span = self.take();
                let text = strings::unquoted(written).ok_or_else(|| {
                    ParseError::new(format!("the string {written} is not UTF-8"), span)
                })?;
                Ok(Expr { kind: ExprKind::String(text), span })
            }
            p::Expr::VectorSelector(vector) => self.instant(vector),
            p::Expr::MatrixSelector(matrix) => self.range(matrix),
            p::Expr::Subquery(subquery) => self.subquery(subquery),
            p::Expr::Unary(unary) => self.negation(unary),
            p::Expr::Binary(binary) => self.binary(binary),
            p::Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            p::Expr::Call(call) => self.call(call),
            p::Expr::Extension(_) => {
                Err(ParseError::new("an extension of the language cannot be used", None))
            }
        }
    }

    fn paren(&mut self, paren: &p::ParenExpr) -> Result<Expr, ParseError> {
        let start = self.take();
        let inner = self.expr(&paren.expr)?;
        let span = start.to(self.take_until(")"));
        Ok(Expr { span, ..inner })
    }

    fn negation(&mut self, unary: &p::UnaryExpr) -> Result<Expr, ParseError> {
        let start = self.take_until("-");
        let inner = self.expr(&unary.expr)?;
        let span = start.to(inner.span);
        if !matches!(inner.value_type(), ValueType::Scalar | ValueType::Vector) {
            let message = format!("a sign before {}", described(inner.value_type()));
            return Err(ParseError::new(message, span));
        }
        let kind = match inner.kind {
            ExprKind::Number(number) => ExprKind::Number(-number),
            kind => ExprKind::Negate(Box::new(Expr { kind, span: inner.span })),
        };
        Ok(Expr { kind, span })
    }

    fn subquery(&mut self, subquery: &p::SubqueryExpr) -> Result<Expr, ParseError> {
        let expr = self.expr(&subquery.expr)?;
        expect(&expr, ValueType::Vector, "a subquery")?;
        self.take_until("[");
        let mut span = expr.span.to(self.take_until("]"));
        let range = self.duration(subquery.range, span)?;
        let step = subquery.step.map(|step| self.duration(step, span)).transpose()?;
        span = span.to(self.modifiers(subquery.offset.is_some(), subquery.at.is_some(), span));
        let offset = self.offset(subquery.offset.as_ref(), span)?;
        let at = self.at(subquery.at.as_ref(), span)?;
        let subquery = Subquery { expr, range, step, offset, at };
        Ok(Expr { kind: ExprKind::Subquery(Box::new(subquery)), span })
    }

    fn aggregate(&mut self, aggregate: &p::AggregateExpr) -> Result<Expr, ParseError> {
        let name = aggregate.op.to_string();
        let start = self.take_until(&name);
        let op = AggregateOp::parse(&name).ok_or_else(|| unsupported_name(&name, start))?;
        self.skip_grouping();
        self.take_until("(");
        if op == AggregateOp::CountValues && self.here_text().contains('\\') {
            self.check_label_name()?;
        }
        let parameter = aggregate.param.as_deref().map(|p| self.expr(p)).transpose()?;
        if parameter.is_some() {
            self.take_until(",");
        }
        let expr = self.expr(&aggregate.expr)?;
        let end = self.take_until(")");
        let span = start.to(self.skip_grouping().unwrap_or(end));
        expect(&expr, ValueType::Vector, &format!("`{op}`"))?;
        if let Some(parameter) = &parameter {
            let wanted = match op {
                AggregateOp::CountValues => ValueType::String,
                _ => ValueType::Scalar,
            };
            expect(parameter, wanted, &format!("the parameter of `{op}`"))?;
        }
        let grouping = match &aggregate.modifier {
            None => Grouping::By(Vec::new()),
            Some(p::LabelModifier::Include(labels)) => Grouping::By(sorted(labels)),
            Some(p::LabelModifier::Exclude(labels)) => Grouping::Without(sorted(labels)),
        };
        let aggregate = Aggregate { op, grouping, parameter, expr };
        Ok(Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span })
    }

    fn call(&mut self, call: &p::Call) -> Result<Expr, ParseError> {
        let name = call.func.name;
        let start = self.take_until(name);
        let function = Function::parse(name).ok_or_else(|| unsupported_name(name, start))?;
        self.take_until("(");
        let mut arguments = Vec::with_capacity(call.args.len());
        for argument in &call.args.args {
            if !arguments.is_empty() {
                self.take_until(",");
            }
            arguments.push(self.expr(argument)?);
        }
        let span = start.to(self.take_until(")"));
        let signature = function.signature();
        let (least, most) = signature.count();
        let given = arguments.len();
        if given < least || most.is_some_and(|most| given > most) {
            let message = format!("`{name}()` does not take {given} arguments");
            return Err(ParseError::new(message, span));
        }
        for (at, argument) in arguments.iter().enumerate() {
            let wanted = signature.argument(at).expect("the number of arguments was checked");
            expect(argument, wanted, &format!("`{name}()`"))?;
        }
        Ok(Expr { kind: ExprKind::Call(Box::new(Call { function, arguments })), span })
    }

    /// Refuses a name of a label that is not UTF-8, in Prometheus' words.
    fn check_label_name(&self) -> Result<(), ParseError> {
        let written = self.here_text();
        match strings::unquoted(written) {
            Some(_) => Ok(()),
            None => Err(ParseError::new(format!("invalid label name {written}"), self.here())),
        }
    }

    /// `by (…)` or `without (…)`, if that is next.
    fn skip_grouping(&mut self) -> Option<Span> {
        let next = self.tokens.get(self.next)?;
        if !next.is("by") && !next.is("without") {
            return None;
        }
        self.next += 1;
        Some(self.take_until(")"))
    }

    /// The place of the next token.
    fn here(&self) -> Span {
        let end = Span { start: self.text.len(), end: self.text.len() };
        self.tokens.get(self.next).map_or(end, |token| token.span)
    }

    /// The next token as it is written.
    fn here_text(&self) -> &'a str {
        self.tokens.get(self.next).map_or("", |token| token.text)
    }

    /// Takes the next token.
    fn take(&mut self) -> Span {
        let span = self.here();
        self.next += 1;
        span
    }

    /// Takes tokens up to this one and with it. Where there is none, nothing is taken: the text
    /// was not as the tree has it, and places become vague, not wrong.
    fn take_until(&mut self, text: &str) -> Span {
        let rest = self.tokens.get(self.next..).unwrap_or_default();
        match rest.iter().position(|token| token.is(text)) {
            Some(at) => {
                self.next += at + 1;
                rest[at].span
            }
            None => self.here(),
        }
    }

    fn next_is(&self, text: &str) -> bool {
        self.tokens.get(self.next).is_some_and(|token| token.is(text))
    }

    fn skip_while(&mut self, wanted: impl Fn(&Token<'_>) -> bool) {
        while self.tokens.get(self.next).is_some_and(&wanted) {
            self.next += 1;
        }
    }
}

/// Refuses an expression of another type than the place it stands in needs.
fn expect(expr: &Expr, wanted: ValueType, place: &str) -> Result<(), ParseError> {
    let found = expr.value_type();
    if found == wanted {
        return Ok(());
    }
    let (wanted, found) = (described(wanted), described(found));
    Err(ParseError::new(format!("{place} needs {wanted}, not {found}"), expr.span))
}

fn described(kind: ValueType) -> String {
    let article = if kind == ValueType::Vector { "an" } else { "a" };
    format!("{article} {kind}")
}

/// Labels in order, none twice: order has no meaning in the language.
fn sorted(labels: &promql_parser::label::Labels) -> Vec<String> {
    let mut names = labels.labels.clone();
    names.sort();
    names.dedup();
    names
}
