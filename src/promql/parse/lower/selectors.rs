//! Selectors, their ranges, and the times they are moved to.

use std::time::{Duration, SystemTime};

use promql_parser::label as l;
use promql_parser::parser as p;

use super::Lowering;
use crate::promql::expr::{Expr, ExprKind, RangeSelector, Span};
use crate::promql::labels::NAME;
use crate::promql::parse::ParseError;
use crate::promql::selector::{Anchored, At, Matcher, Pattern, Selector};
use crate::sample::Timestamp;

impl Lowering<'_> {
    pub(super) fn instant(&mut self, vector: &p::VectorSelector) -> Result<Expr, ParseError> {
        let start = self.take_selector(vector);
        let span = start.to(self.modifiers(vector.offset.is_some(), vector.at.is_some(), start));
        let selector = self.selector(vector, span)?;
        Ok(Expr { kind: ExprKind::Selector(selector), span })
    }

    pub(super) fn range(&mut self, matrix: &p::MatrixSelector) -> Result<Expr, ParseError> {
        let start = self.take_selector(&matrix.vs);
        self.take_until("[");
        let end = self.take_until("]");
        let (offset, at) = (matrix.vs.offset.is_some(), matrix.vs.at.is_some());
        let span = start.to(self.modifiers(offset, at, end));
        let range = self.duration(matrix.range, span)?;
        let selector = self.selector(&matrix.vs, span)?;
        Ok(Expr { kind: ExprKind::Range(RangeSelector { selector, range }), span })
    }

    /// Takes the name and the matchers.
    fn take_selector(&mut self, vector: &p::VectorSelector) -> Span {
        let start = self.here();
        let mut span = start;
        if vector.name.is_some() && !self.next_is("{") {
            span = self.take();
        }
        if self.next_is("{") {
            span = start.to(self.take_until("}"));
        }
        span
    }

    /// Takes `offset …` and `@ …`, which come in any order; the place of the last token taken.
    pub(super) fn modifiers(&mut self, mut offset: bool, mut at: bool, before: Span) -> Span {
        let mut last = before;
        while (offset && self.next_is("offset")) || (at && self.next_is("@")) {
            if self.next_is("@") {
                at = false;
            } else {
                offset = false;
            }
            self.next += 1;
            self.skip_while(|token| token.is("+") || token.is("-"));
            last = self.take();
            if self.next_is("(") {
                last = self.take_until(")");
            }
        }
        last
    }

    fn selector(&self, vector: &p::VectorSelector, span: Span) -> Result<Selector, ParseError> {
        if !vector.matchers.or_matchers.is_empty() {
            let message = "`or` between matchers cannot be used: it is not PromQL";
            return Err(ParseError::new(message, span));
        }
        let mut name = vector.name.clone();
        let mut matchers = Vec::with_capacity(vector.matchers.matchers.len());
        for matcher in &vector.matchers.matchers {
            match matcher.op {
                l::MatchOp::Equal
                    if matcher.name == NAME && name.is_none() && !matcher.value.is_empty() =>
                {
                    name = Some(matcher.value.clone());
                }
                _ => matchers.push(lower_matcher(matcher, span)?),
            }
        }
        if name.is_none() && matchers.iter().all(|matcher| matcher.pattern.matches("")) {
            let message = "a selector needs a name, or a matcher that excludes the empty label";
            return Err(ParseError::new(message, span));
        }
        Ok(Selector {
            name,
            matchers,
            offset: self.offset(vector.offset.as_ref(), span)?,
            at: self.at(vector.at.as_ref(), span)?,
        })
    }

    /// A duration in nanoseconds, above zero.
    pub(super) fn duration(&self, duration: Duration, span: Span) -> Result<i64, ParseError> {
        match i64::try_from(duration.as_nanos()) {
            Ok(0) => Err(ParseError::new("a duration must be above zero", span)),
            Ok(nanos) => Ok(nanos),
            Err(_) => Err(ParseError::new("a duration of more than 292 years", span)),
        }
    }

    pub(super) fn offset(&self, offset: Option<&p::Offset>, span: Span) -> Result<i64, ParseError> {
        let (sign, duration) = match offset {
            None => return Ok(0),
            Some(p::Offset::Pos(duration)) => (1, duration),
            Some(p::Offset::Neg(duration)) => (-1, duration),
        };
        if duration.is_zero() { Ok(0) } else { Ok(sign * self.duration(*duration, span)?) }
    }

    pub(super) fn at(
        &self,
        at: Option<&p::AtModifier>,
        span: Span,
    ) -> Result<Option<At>, ParseError> {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos());
        Ok(Some(match at {
            None => return Ok(None),
            Some(p::AtModifier::Start) => At::Start,
            Some(p::AtModifier::End) => At::End,
            Some(p::AtModifier::At(time)) => match time.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(after) => nanos(after),
                Err(before) => nanos(before.duration()).map(|nanos| -nanos),
            }
            .map(|nanos| At::Time(Timestamp::from_nanos(nanos)))
            .map_err(|_| ParseError::new("the time after `@` is out of range", span))?,
        }))
    }
}

fn lower_matcher(matcher: &l::Matcher, span: Span) -> Result<Matcher, ParseError> {
    let value = matcher.value.clone();
    let anchored = || {
        Anchored::new(&value).map_err(|error| {
            ParseError::new(format!("`{value}` is not a regular expression: {error}"), span)
        })
    };
    let pattern = match matcher.op {
        l::MatchOp::Equal => Pattern::Equal(value),
        l::MatchOp::NotEqual => Pattern::NotEqual(value),
        l::MatchOp::Re(_) => Pattern::Matches(anchored()?),
        l::MatchOp::NotRe(_) => Pattern::MatchesNot(anchored()?),
    };
    Ok(Matcher { label: matcher.name.clone(), pattern })
}
