//! Rows of a table, to be copied and damaged.

/// A table and some of its rows.
pub(super) struct Sample {
    pub(super) columns: Vec<SampleColumn>,
    /// Rows as text; `None` is NULL.
    pub(super) rows: Vec<Vec<Option<String>>>,
}

/// A column.
#[derive(Clone)]
pub(super) struct SampleColumn {
    pub(super) name: String,
    /// Type, as SQL.
    pub(super) type_name: String,
    /// Place in the primary key.
    pub(super) key_place: Option<usize>,
}

impl Sample {
    /// Columns of the primary key, in order.
    pub(super) fn key(&self) -> Vec<&str> {
        let mut key: Vec<_> = self
            .columns
            .iter()
            .filter_map(|column| Some((column.key_place?, column.name.as_str())))
            .collect();
        key.sort_unstable();
        key.into_iter().map(|(_, name)| name).collect()
    }

    /// Values that can be set to NULL: the places of their rows and columns.
    pub(super) fn nullable(&self) -> Vec<(usize, usize)> {
        let places = self.rows.iter().enumerate().flat_map(|(place, row)| {
            row.iter()
                .enumerate()
                .filter(|(_, value)| value.is_some())
                .map(move |(column, _)| (place, column))
        });
        places.filter(|(_, column)| self.columns[*column].key_place.is_none()).collect()
    }
}
