//! Lists things to people: columns as wide as they have to be.

/// Rows of cells as lines, each with its end.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text += line.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_as_wide_as_its_widest_cell() {
        let rows = [["NAME", "SENT"], ["phone…", "1 B"], ["a", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "NAME    SENT\nphone…  1 B\na\n");
        assert_eq!(columns::<2>(&[]), "");
    }
}
