"""Lists that are imported: files, columns, and why a row or a whole file is not taken."""

TEXTS = {
    "importing.no_such_column": "The file has no such column.",
    "importing.no_such_field": "There is no field “{name}”. Use one of {fields}, or custom.<name>.",
    "importing.field_taken": "“{column}” is already that field; two columns cannot be one field.",
    "importing.need_email_column": "Say which column holds the e-mail address.",
    "importing.no_rows": "The file holds no rows. Save it with a heading and at least one person, then upload it again.",
    "importing.not_a_table": "This is not a table. Upload a CSV file or an Excel workbook (.xlsx).",
    "importing.too_many_columns": "The file has more than {limit} columns. Remove those you do not need.",
    "importing.quote_never_closed": "A quotation mark opens in this line and is never closed.",
    "importing.quotes_all_over": "Quotation marks open all over this file and are never closed. Save it as CSV again.",
    "importing.cells_out_of_place": "This row has {held} cells, the heading has {width}: a separator or a quotation mark is out of place.",
    "importing.not_excel": "This is no Excel workbook we can read. Save it as .xlsx or as CSV (UTF-8), then upload it again.",
    "importing.empty_file": "The file is empty.",
    "importing.old_excel": "This is an old Excel file (.xls) or a protected one. Save it as .xlsx or CSV without a password.",
    "importing.larger_inside": "This workbook is far larger inside than it looks. Save only the sheet you need as CSV.",
    "importing.no_sheet": "The workbook has no sheet with a table.",
    "importing.no_such_sheet": "The workbook has no sheet named “{name}”. It has: {sheets}.",
    # Refusals
    "importing.known_lead": "Already a lead; known leads are left as they are.",
    "importing.same_address": "The same address already stands in line {line}.",
    "importing.too_many_rows": "The file has more than {limit} rows. Cut it into several files.",
    "importing.ran_sheet": "This import has already run. Upload the file again to read another sheet.",
    "importing.file_gone": "The file of this import is no longer kept. Upload it again.",
    "importing.ran_already": "This import is running or has already run. Upload the file again to import it once more.",
    "importing.known_choice": "Choose update, fill or skip.",
    "importing.say_columns": "Say which column is which.",
    "importing.mapping_wrong": "The columns do not fit the fields; see details.",
    "importing.undone_already": "This import has already been undone.",
    "importing.cannot_undo": "Only a finished import can be undone, and only for {days} days.",
    "importing.column": "Column {number}",
    "importing.unexpected": (
        "Something unexpected stopped this import; the log says what. What was imported so far is kept: start it again to go on."
    ),
}
