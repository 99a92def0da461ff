/**
 * Functions that people's SQL may call: those that compute from their arguments alone. What is not listed is refused,
 * so that a function of a later DuckDB is closed until somebody has looked at it.
 *
 * Left out on purpose: whatever reads files, settings, variables, sequences or catalogs; whatever runs text as SQL;
 * what waits; what makes long text out of a short one (`repeat`, `lpad`, `format` …), which no memory limit bounds; and
 * what cannot be interrupted while it doubles something (`list_reduce`). Others are bounded in bounds.ts and macros.ts.
 */
import { MACROS } from "./macros.ts";

/** Operators, as the parser names the functions behind them. */
const OPERATORS = "+ - * / // % ** ^ & | ~ << >> || && ->> @> <@ ^@ @ !__postfix " +
  "~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape not_ilike_escape";

const NUMBERS =
  "abs acos asin atan atan2 cbrt ceil ceiling cos cot degrees even exp factorial floor " +
  "gcd greatest isfinite isinf isnan lcm least ln log log10 log2 mod pi pow power radians random " +
  "round round_even sign signbit sin sqrt tan trunc xor add subtract multiply divide fdiv fmod bit_count " +
  "to_base bin hex to_hex to_binary unbin unhex from_hex from_binary";

const TEXT =
  "ascii base64 to_base64 from_base64 bit_length char_length character_length chr concat concat_ws " +
  "contains damerau_levenshtein editdist3 decode encode ends_with format_bytes hamming hash instr jaccard " +
  "jaro_similarity jaro_winkler_similarity lcase left length len levenshtein lower ltrim md5 " +
  "nfc_normalize octet_length ord parse_dirname parse_dirpath parse_filename parse_path position prefix " +
  "regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace " +
  "regexp_split_to_array replace reverse right rtrim sha1 sha256 split split_part starts_with " +
  "str_split str_split_regex string_split string_split_regex string_to_array strip_accents strlen " +
  "strpos substr substring suffix translate trim ucase unicode upper url_decode url_encode";

const TIMES =
  "age ago century current_date date_add date_diff date_part date_sub date_trunc datediff datepart datesub " +
  "datetrunc day dayname dayofmonth dayofweek dayofyear decade epoch epoch_ms epoch_ns epoch_us era " +
  "get_current_timestamp hour isodow isoyear julian last_day make_date make_time make_timestamp " +
  "make_timestamp_ms make_timestamptz microsecond millennium millisecond minute month monthname nanosecond " +
  "now quarter second strftime strptime time_bucket timezone timezone_hour timezone_minute to_centuries " +
  "to_days to_decades to_hours to_microseconds to_millennia to_milliseconds to_minutes to_months " +
  "to_quarters to_seconds to_timestamp to_weeks to_years today transaction_timestamp try_strptime week " +
  "weekday weekofyear year yearweek";

const LISTS =
  "array_aggregate array_append array_cat array_concat array_contains array_distinct array_extract " +
  "array_filter array_has array_has_all array_has_any array_indexof array_intersect array_length " +
  "array_position array_prepend array_reverse array_reverse_sort array_slice array_sort " +
  "array_to_json array_to_string array_transform array_unique array_value array_where array_zip " +
  "element_at filter flatten list_aggregate list_append list_apply list_any_value list_avg list_cat " +
  "list_concat list_contains list_count list_distinct list_element list_extract list_filter list_first " +
  "list_grade_up list_has list_has_all list_has_any list_histogram list_indexof list_intersect list_last " +
  "list_max list_median list_min list_mode list_pack list_position list_prepend list_reverse " +
  "list_reverse_sort list_select list_slice list_sort list_string_agg list_sum list_transform " +
  "list_unique list_value list_where list_zip unnest map map_concat map_contains map_entries " +
  "map_extract map_extract_value map_from_entries map_keys map_values cardinality row struct_concat " +
  "struct_extract struct_extract_at struct_insert struct_keys struct_pack struct_update struct_values";

const JSON_TEXT = "json json_array json_array_length json_contains json_exists json_extract " +
  "json_extract_path json_extract_path_text json_extract_string json_keys json_merge_patch json_object " +
  "json_pretty json_quote json_structure json_transform json_type json_valid json_value from_json to_json " +
  "row_to_json json_group_array json_group_object";

const OTHERS =
  "coalesce constant_or_null ifnull nullif typeof pg_typeof uuid gen_random_uuid error";

const AGGREGATES =
  "any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_min " +
  "arg_min_null argmax argmin array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if " +
  "count_star countif covar_pop covar_samp entropy favg first fsum geomean group_concat histogram " +
  "kurtosis last list listagg mad max max_by mean median min min_by mode product quantile quantile_cont " +
  "quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope sem skewness stddev " +
  "stddev_pop stddev_samp string_agg sum var_pop var_samp variance weighted_avg cume_dist dense_rank " +
  "first_value lag last_value lead nth_value ntile percent_rank rank rank_dense row_number fill";

/** Functions in expressions. */
export const EXPRESSION_FUNCTIONS: ReadonlySet<string> = new Set(
  [OPERATORS, NUMBERS, TEXT, TIMES, LISTS, JSON_TEXT, OTHERS, AGGREGATES]
    .join(" ").split(" ")
    .concat(MACROS.map(({ name }) => name)),
);

/** Functions that stand where a table does. */
export const TABLE_FUNCTIONS: ReadonlySet<string> = new Set([
  "range",
  "generate_series",
  "unnest",
  "json_each",
  "json_tree",
]);
