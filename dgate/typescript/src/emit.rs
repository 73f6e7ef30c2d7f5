//! Tree to text, and the source map with it. swc's own writer counts columns in UTF-16; ours notes
//! bytes of the output, which is what the engine reports.

use swc_core::common::sync::Lrc;
use swc_core::common::{BytePos, SourceMap as Files, Span};
use swc_core::ecma::ast::Module;
use swc_core::ecma::codegen::text_writer::WriteJs;
use swc_core::ecma::codegen::{Config, Emitter};

use crate::SourceMap;
use crate::parse::BASE;
use crate::position::Lines;

/// Writes the module. The error is swc's own, on a tree it can't write.
pub(crate) fn emit(module: &Module, lines: &Lines<'_>) -> std::io::Result<(String, SourceMap)> {
    let mut writer = Writer {
        last: BASE + lines.text().len() as u32,
        ..Writer::default()
    };
    Emitter {
        cfg: Config::default(),
        cm: Lrc::new(Files::default()),
        comments: None,
        wr: &mut writer,
    }
    .emit_module(module)?;
    let Writer { code, marks, .. } = writer;

    let mut line = 1;
    let mut line_start = 0;
    let mut at = 0;
    let map = SourceMap::build(marks.into_iter().map(|(offset, source)| {
        // Marks come in the order of the output, so that one pass counts the lines.
        for (index, _) in code.as_bytes()[at..offset]
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
        {
            line += 1;
            line_start = at + index + 1;
        }
        at = offset;
        (
            line,
            (offset - line_start) as u32 + 1,
            lines.position(source),
        )
    }));
    Ok((code, map))
}

#[derive(Default)]
struct Writer {
    code: String,
    /// Offset in `code`, offset in the source.
    marks: Vec<(usize, u32)>,
    /// Greatest position of the source, in swc's count.
    last: u32,
    indent: usize,
    mid_line: bool,
    /// Mark that waits for what follows the indentation.
    pending: Option<BytePos>,
}

impl Writer {
    fn mark(&mut self, position: BytePos) {
        // Code of the compiler has positions outside of the source.
        if (BASE..=self.last).contains(&position.0) {
            let mark = (self.code.len(), position.0 - BASE);
            if self.marks.last() != Some(&mark) {
                self.marks.push(mark);
            }
        }
    }

    fn write(&mut self, span: Option<Span>, text: &str) -> std::io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if !self.mid_line {
            self.mid_line = true;
            for _ in 0..self.indent {
                self.code.push_str("  ");
            }
        }
        if let Some(position) = self.pending.take() {
            self.mark(position);
        }
        if let Some(span) = span {
            self.mark(span.lo);
        }
        self.code.push_str(text);
        if let Some(span) = span {
            self.mark(span.hi);
        }
        Ok(())
    }
}

impl WriteJs for &mut Writer {
    fn increase_indent(&mut self) -> std::io::Result<()> {
        self.indent += 1;
        Ok(())
    }
    fn decrease_indent(&mut self) -> std::io::Result<()> {
        self.indent = self.indent.saturating_sub(1);
        Ok(())
    }
    fn write_semi(&mut self, span: Option<Span>) -> std::io::Result<()> {
        self.write(span, ";")
    }
    fn write_space(&mut self) -> std::io::Result<()> {
        self.write(None, " ")
    }
    fn write_keyword(&mut self, span: Option<Span>, text: &'static str) -> std::io::Result<()> {
        self.write(span, text)
    }
    fn write_operator(&mut self, span: Option<Span>, text: &str) -> std::io::Result<()> {
        self.write(span, text)
    }
    fn write_param(&mut self, text: &str) -> std::io::Result<()> {
        self.write(None, text)
    }
    fn write_property(&mut self, text: &str) -> std::io::Result<()> {
        self.write(None, text)
    }
    fn write_line(&mut self) -> std::io::Result<()> {
        if self.mid_line {
            self.code.push('\n');
            self.mid_line = false;
        }
        Ok(())
    }
    fn write_lit(&mut self, span: Span, text: &str) -> std::io::Result<()> {
        self.write(Some(span), text)
    }
    fn write_comment(&mut self, text: &str) -> std::io::Result<()> {
        self.write(None, text)
    }
    fn write_str_lit(&mut self, span: Span, text: &str) -> std::io::Result<()> {
        self.write(Some(span), text)
    }
    fn write_str(&mut self, text: &str) -> std::io::Result<()> {
        self.write(None, text)
    }
    fn write_symbol(&mut self, span: Span, text: &str) -> std::io::Result<()> {
        self.write(Some(span), text)
    }
    fn write_punct(
        &mut self,
        span: Option<Span>,
        text: &'static str,
        _commit_pending_semi: bool,
    ) -> std::io::Result<()> {
        self.write(span, text)
    }
    fn care_about_srcmap(&self) -> bool {
        true
    }
    fn add_srcmap(&mut self, position: BytePos) -> std::io::Result<()> {
        if self.mid_line {
            self.mark(position);
        } else {
            self.pending = Some(position);
        }
        Ok(())
    }
    fn commit_pending_semi(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
