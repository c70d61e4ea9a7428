/* snet.y - the grammar of .snet; GRAMMAR.md shows it by example.
 * Actions only call ast_*. After a syntax error the parser drops its lookahead and reads RESYNC, then goes on
 * at a place that parse_resync chose: the bracket's end, a head's `{`, or the end of the line. Every rule
 * with `error` therefore continues with `resync`, and a bracket that may hold one is a rule of its own, so
 * that it is off the stack once it is closed. */
%code requires {
#include "syntax/build.h"
}

%define api.pure full
%define api.prefix {snet_}
%define api.location.type {Span}
%define parse.error custom
%define parse.lac full
%locations
%param {Parse *parse}
%expect 0

%code {
#define YYMAXDEPTH 20000
#define YYLLOC_DEFAULT(current, rhs, n)                                                            \
    ((current) = (n) ? span_join(YYRHSLOC(rhs, 1), YYRHSLOC(rhs, n))                               \
                     : span_at(parse, span_end(YYRHSLOC(rhs, 0)), 0))
#define NO_NAME ((Name){ 0 })

static int snet_lex(SNET_STYPE *value, Span *at, Parse *parse);
static void snet_error(Span *at, Parse *parse, const char *message);
}

%union {
    AstNode *node;
    AstList nodes;
    NameList names;
    Name name;
    Arg arg;
    ArgList args;
    Label *label;
    Pattern *pattern;
    ArmList arms;
    Body body;
    Type *type;
    Param param;
    ParamList params;
    Input input;
    InputList input_list;
    Inputs inputs;
    FunctionHead head;
    AstKind kind;
    BinaryOp binary;
    CompareOp compare;
    Stage stage;
    bool flag;
}

%token END "the end of the line"
%token NUMBER "a number" CONSTANT "a constant" STRING "a string" NAME "a name" TRUE "true" FALSE "false"
%token FOR "for" IN "in" IF "if" ELSE "else" RETURN "return" AND "and" OR "or" NOT "not" AS "as" FOR_AS "as "
%token PIPE "|>" RANGE ".." EQ "==" NE "!=" LE "<=" GE ">=" APPEND "+=" FLOORDIV "//"
%token LABEL_TEXT "a label" LABEL_OPEN "{ "
%token USE "use" LET "let" ACTIVATION "activation" WEIGHT "weight" SCHEDULE "schedule" BLOCK "block"
%token NETWORK "network" VARIANT "variant" TRAIN "train"
%token PREPROCESS "preprocess" PARAM "param" STATE "state" TARGET "target" UPDATE "update" NOW "now" GROUP "group"
%token START_FILE "file" START_EXPRESSION "expression" RESYNC "resync"

%type <node> declaration line item setting option expr or and not comparison chain range sum product unary power
%type <node> labelled postfix primary pipe cond arm stray mixed preprocess
%type <stage> stage
%type <nodes> lines line_list items item_list settings setting_list options option_list exprs expr_list strings
%type <nodes> dims
%type <names> names
%type <arg> arg
%type <args> args arg_list
%type <name> name opt_scope opt_index
%type <label> label opt_label label_parts
%type <pattern> pattern pattern_list
%type <arms> branch
%type <body> body train_body settings_body options_body
%type <type> type
%type <param> param opt_bound
%type <params> params param_list
%type <input> input
%type <input_list> opt_inputs input_list opt_options
%type <inputs> inputs
%type <head> function_head
%type <kind> function_word tensor_word block_word
%type <binary> sum_op product_op
%type <compare> compare_op
%type <flag> opt_now

%%

start:
      START_FILE declarations
    | START_FILE
    | START_EXPRESSION expr                 { parse->expression = $2; }
    ;

/* --- declarations --- */

declarations:
      declaration                           { ast_declare(parse, $1); }
    | declarations END declaration          { ast_declare(parse, $3); }
    ;

declaration:
      USE STRING                            { $$ = ast_use(parse, @2, @$); }
    | LET name '=' expr                     { $$ = ast_set(parse, DECL_LET, $2, $4, @$); }
    | function_word name function_head '=' expr
                                            { $$ = ast_function(parse, $1, $2, $3, $5, @$); }
    | block_word name inputs body           { $$ = ast_block(parse, $1, $2, $3, $4, @$); }
    | block_word error resync body          { $$ = NULL; }
    | block_word error resync               { $$ = NULL; }
    | VARIANT name NAME name settings_body  { $$ = ast_variant(parse, $2, ast_name_at(parse, @3), $4, $5, @$); }
    | VARIANT error resync settings_body    { $$ = NULL; }
    | VARIANT error resync                  { $$ = NULL; }
    | TRAIN name train_body                 { $$ = ast_train(parse, $2, $3, @$); }
    | TRAIN error resync train_body         { $$ = NULL; }
    | TRAIN error resync                    { $$ = NULL; }
    | error resync                          { $$ = NULL; }
    ;

resync: RESYNC                              { yyerrok; } ;

name: NAME                                  { $$ = ast_name_at(parse, @1); } ;

function_word:
      ACTIVATION                            { $$ = DECL_ACTIVATION; }
    | WEIGHT                                { $$ = DECL_WEIGHT; }
    | SCHEDULE                              { $$ = DECL_SCHEDULE; }
    ;

function_head:
      '(' name ')'                          { $$ = (FunctionHead){ .input = $2 }; }
    | '(' name ';' params ')'               { $$ = (FunctionHead){ .input = $2, .params = $4 }; }
    | '(' error resync ')'                  { $$ = (FunctionHead){ .input = ast_name_at(parse, @1) }; }
    ;
params:     param_list | param_list ',' ;
param_list:
      param                                 { $$ = ast_params(parse, (ParamList){ 0 }, $1); }
    | param_list ',' param                  { $$ = ast_params(parse, $1, $3); }
    ;
param:
      name opt_scope opt_bound              { $$ = ast_param($1, $2, $3, NULL, @$); }
    | name opt_scope opt_bound '=' sum      { $$ = ast_param($1, $2, $3, $5, @$); }
    ;
opt_scope:
      %empty                                { $$ = NO_NAME; }
    | ':' name                              { $$ = $2; }
    ;
opt_bound:
      %empty                                { $$ = ast_bound(BOUND_NONE, NULL, NULL); }
    | '>' sum                               { $$ = ast_bound(BOUND_GREATER, $2, NULL); }
    | GE sum                                { $$ = ast_bound(BOUND_AT_LEAST, $2, NULL); }
    | IN '(' sum ',' sum ')'                { $$ = ast_bound(BOUND_BETWEEN, $3, $5); }
    | IN '(' error resync ')'               { $$ = ast_bound(BOUND_NONE, NULL, NULL); }
    ;

block_word:
      BLOCK                                 { $$ = DECL_BLOCK; }
    | NETWORK                               { $$ = DECL_NETWORK; }
    ;

inputs:
      '(' opt_inputs opt_options ')'        { $$ = (Inputs){ .inputs = $2, .options = $3 }; }
    | '(' error resync ')'                  { $$ = (Inputs){ 0 }; }
    ;
opt_inputs:
      %empty                                { $$ = (InputList){ 0 }; }
    | input_list
    | input_list ','
    ;
opt_options:
      %empty                                { $$ = (InputList){ 0 }; }
    | ';'                                   { $$ = (InputList){ 0 }; }
    | ';' input_list                        { $$ = $2; }
    | ';' input_list ','                    { $$ = $2; }
    ;
input_list:
      input                                 { $$ = ast_inputs(parse, (InputList){ 0 }, $1); }
    | input_list ',' input                  { $$ = ast_inputs(parse, $1, $3); }
    ;
input:
      name                                  { $$ = ast_input(parse, $1, NULL, NO_NAME, NULL, NULL, @$); }
    | name '=' expr                         { $$ = ast_input(parse, $1, NULL, NO_NAME, NULL, $3, @$); }
    | name ':' type                         { $$ = ast_input(parse, $1, $3, NO_NAME, NULL, NULL, @$); }
    | name ':' type name '=' expr           { $$ = ast_input(parse, $1, $3, $4, $6, NULL, @$); }
    ;

type:
      name                                  { $$ = ast_type(parse, $1, (AstList){ 0 }, @$); }
    | name '[' dims ']'                     { $$ = ast_type(parse, $1, $3, @$); }
    | name '[' error resync ']'             { $$ = ast_type(parse, $1, (AstList){ 0 }, @$); }
    ;
dims:
      %empty                                { $$ = (AstList){ 0 }; }
    | exprs
    ;

/* --- variants and training --- */

settings_body:
      '{' settings '}'                      { $$ = ast_body($2, @$); }
    | '{' '}'                               { $$ = ast_body((AstList){ 0 }, @$); }
    ;
settings:   setting_list | setting_list END ;
setting_list:
      setting                               { $$ = ast_nodes(parse, (AstList){ 0 }, $1); }
    | setting_list END setting              { $$ = ast_nodes(parse, $1, $3); }
    ;
setting:
      STRING '=' expr                       { $$ = ast_place(parse, @1, false, $3, @$); }
    | STRING APPEND expr                    { $$ = ast_place(parse, @1, true, $3, @$); }
    | option
    ;

option:
      name '=' expr                         { $$ = ast_set(parse, ITEM_OPTION, $1, $3, @$); }
    | error resync                          { $$ = NULL; }
    ;
options_body:
      '{' options '}'                       { $$ = ast_body($2, @$); }
    | '{' '}'                               { $$ = ast_body((AstList){ 0 }, @$); }
    ;
options:    option_list | option_list END ;
option_list:
      option                                { $$ = ast_nodes(parse, (AstList){ 0 }, $1); }
    | option_list END option                { $$ = ast_nodes(parse, $1, $3); }
    ;

train_body:
      '{' items '}'                         { $$ = ast_body($2, @$); }
    | '{' '}'                               { $$ = ast_body((AstList){ 0 }, @$); }
    ;
items:      item_list | item_list END ;
item_list:
      item                                  { $$ = ast_nodes(parse, (AstList){ 0 }, $1); }
    | item_list END item                    { $$ = ast_nodes(parse, $1, $3); }
    ;
item:
      name expr                             { $$ = ast_set(parse, ITEM_VALUE, $1, $2, @$); }
    | GROUP strings options_body            { $$ = ast_group(parse, $2, $3, @$); }
    | GROUP error resync options_body       { $$ = NULL; }
    | GROUP error resync                    { $$ = NULL; }
    | TARGET name ':' type                  { $$ = ast_tensor(parse, STMT_TARGET, $2, $4, NULL, @$); }
    | error resync                          { $$ = NULL; }
    ;
strings:
      STRING                                { $$ = ast_nodes(parse, (AstList){ 0 }, ast_string(parse, @1)); }
    | strings ',' STRING                    { $$ = ast_nodes(parse, $1, ast_string(parse, @3)); }
    ;

/* --- statements --- */

body:
      '{' lines '}'                         { $$ = ast_body($2, @$); }
    | '{' '}'                               { $$ = ast_body((AstList){ 0 }, @$); }
    ;
lines:      line_list | line_list END ;
line_list:
      line                                  { $$ = ast_nodes(parse, (AstList){ 0 }, $1); }
    | line_list END line                    { $$ = ast_nodes(parse, $1, $3); }
    ;
line:
      names '=' expr                        { $$ = ast_assign(parse, $1, $3, @$); }
    | RETURN args                           { $$ = ast_return(parse, $2, @$); }
    | expr                                  { $$ = ast_statement(parse, $1, @$); }
    | FOR pattern opt_index IN range opt_label body
                                            { $$ = ast_for(parse, $2, $3, $5, $6, $7, @$); }
    | FOR error resync body                 { $$ = NULL; }
    | FOR error resync                      { $$ = NULL; }
    | branch                                { $$ = ast_if(parse, $1, @$); }
    | branch ELSE body                      { $$ = ast_if(parse, ast_arms(parse, $1, NULL, $3, span_join(@2, @3)), @$); }
    | IF error resync                       { $$ = NULL; }
    | preprocess
    | tensor_word name ':' type             { $$ = ast_tensor(parse, $1, $2, $4, NULL, @$); }
    | tensor_word name ':' type '=' expr    { $$ = ast_tensor(parse, $1, $2, $4, $6, @$); }
    | UPDATE opt_now name '=' expr          { $$ = ast_update(parse, $2, $3, $5, @$); }
    | error resync                          { $$ = NULL; }
    ;

preprocess: PREPROCESS name '=' expr        { $$ = ast_set(parse, STMT_PREPROCESS, $2, $4, @$); } ;

tensor_word:
      PARAM                                 { $$ = STMT_PARAM; }
    | STATE                                 { $$ = STMT_STATE; }
    | TARGET                                { $$ = STMT_TARGET; }
    ;
opt_now:
      %empty                                { $$ = false; }
    | NOW                                   { $$ = true; }
    ;

names:
      name                                  { $$ = ast_names(parse, (NameList){ 0 }, $1); }
    | names ',' name                        { $$ = ast_names(parse, $1, $3); }
    ;

pattern:
      NAME                                  { $$ = ast_pattern_name(parse, @1); }
    | '(' pattern_list ')'                  { $$ = $2; $$->span = @$; }
    | '(' error resync ')'                  { $$ = ast_pattern_name(parse, @$); }
    ;
pattern_list:
      pattern                               { $$ = ast_pattern(parse, NULL, $1, @$); }
    | pattern_list ',' pattern              { $$ = ast_pattern(parse, $1, $3, @$); }
    ;
opt_index:
      %empty                                { $$ = NO_NAME; }
    | ',' name                              { $$ = $2; }
    ;
opt_label:
      %empty                                { $$ = NULL; }
    | FOR_AS label                          { $$ = $2; }
    ;

branch:
      IF expr body                          { $$ = ast_arms(parse, (ArmList){ 0 }, $2, $3, @$); }
    | IF error resync body                  { $$ = ast_arms(parse, (ArmList){ 0 }, ast_bad(parse, @1), $4, @$); }
    | branch ELSE IF expr body              { $$ = ast_arms(parse, $1, $4, $5, span_join(@2, @5)); }
    | branch ELSE IF error resync body      { $$ = ast_arms(parse, $1, ast_bad(parse, @3), $6, span_join(@2, @6)); }
    ;

/* --- expressions, loosest first --- */

expr:       or | pipe | cond | stray | mixed ;

cond:       or IF or ELSE arm               { $$ = ast_cond(parse, $3, $1, $5, @$); } ;
arm:        or | cond ;

pipe:
      or PIPE stage                         { $$ = ast_pipe(parse, $1, $3.node, $3.label, @2, @$); }
    | pipe PIPE stage                       { $$ = ast_pipe(parse, $1, $3.node, $3.label, @2, @$); }
    ;
stage:
      postfix                               { $$ = (Stage){ $1, NULL }; }
    | postfix AS label                      { $$ = (Stage){ $1, $3 }; }
    ;

/* x |> f + y and its like: reported */
stray:
      pipe stray_op unary                   { $$ = ast_stray_operator(parse, $1, @2); }
    | stray stray_op unary
    | stray PIPE stage
    ;
stray_op:   '+' | '-' | '*' | '/' | '%' | FLOORDIV | RANGE | compare_op | AND | OR ;

/* x |> f if c else y and its like: reported */
mixed:
      pipe IF or ELSE arm                   { $$ = ast_pipe_in_arm(parse, $1, @$); }
    | cond PIPE stage                       { $$ = ast_pipe_in_arm(parse, $1, @$); }
    | mixed PIPE stage
    ;

or:
      and
    | or OR and                             { $$ = ast_binary(parse, BINARY_OR, $1, $3, @2, @$); }
    ;
and:
      not
    | and AND not                           { $$ = ast_binary(parse, BINARY_AND, $1, $3, @2, @$); }
    ;
not:
      comparison
    | NOT not                               { $$ = ast_unary(parse, UNARY_NOT, $2, @1, @$); }
    ;
comparison: range | chain ;
chain:
      range compare_op range                { $$ = ast_compare(parse, $2, $1, $3, @2, @$); }
    | chain compare_op range                { $$ = ast_chained_compare(parse, $1, @2); }
    ;
compare_op:
      EQ                                    { $$ = COMPARE_EQ; }
    | NE                                    { $$ = COMPARE_NE; }
    | '<'                                   { $$ = COMPARE_LT; }
    | LE                                    { $$ = COMPARE_LE; }
    | '>'                                   { $$ = COMPARE_GT; }
    | GE                                    { $$ = COMPARE_GE; }
    ;
range:
      sum
    | sum RANGE sum                         { $$ = ast_range(parse, $1, $3, @2, @$); }
    ;
sum:
      product
    | sum sum_op product                    { $$ = ast_binary(parse, $2, $1, $3, @2, @$); }
    ;
sum_op:
      '+'                                   { $$ = BINARY_ADD; }
    | '-'                                   { $$ = BINARY_SUB; }
    ;
product:
      unary
    | product product_op unary              { $$ = ast_binary(parse, $2, $1, $3, @2, @$); }
    ;
product_op:
      '*'                                   { $$ = BINARY_MUL; }
    | '/'                                   { $$ = BINARY_DIV; }
    | '%'                                   { $$ = BINARY_MOD; }
    | FLOORDIV                              { $$ = BINARY_FLOORDIV; }
    ;
unary:
      power
    | '-' unary                             { $$ = ast_unary(parse, UNARY_NEGATE, $2, @1, @$); }
    ;
power:
      labelled
    | labelled '^' unary                    { $$ = ast_binary(parse, BINARY_POW, $1, $3, @2, @$); }
    ;
labelled:
      postfix
    | postfix AS label                      { $$ = ast_labelled(parse, $1, $3, @$); }
    ;

postfix:
      primary
    | postfix '(' args ')'                  { $$ = ast_call(parse, $1, $3, @$); }
    | postfix '(' error resync ')'          { $$ = ast_bad(parse, @$); }
    | postfix '[' exprs ']'                 { $$ = ast_index(parse, $1, $3, @$); }
    | postfix '[' error resync ']'          { $$ = ast_bad(parse, @$); }
    | postfix '.' name                      { $$ = ast_field(parse, $1, $3, @$); }
    ;
primary:
      NUMBER                                { $$ = ast_number(parse, @1); }
    | CONSTANT                              { $$ = ast_constant(parse, @1); }
    | STRING                                { $$ = ast_string(parse, @1); }
    | TRUE                                  { $$ = ast_bool(parse, true, @1); }
    | FALSE                                 { $$ = ast_bool(parse, false, @1); }
    | NAME                                  { $$ = ast_name(parse, @1); }
    | '(' expr ')'                          { $$ = ast_paren($2, @$); }
    | '(' expr ',' exprs ')'                { $$ = ast_list(parse, EXPR_TUPLE, ast_prepend(parse, $2, $4), @$); }
    | '(' error resync ')'                  { $$ = ast_bad(parse, @$); }
    | '[' dims ']'                          { $$ = ast_list(parse, EXPR_LIST, $2, @$); }
    | '[' error resync ']'                  { $$ = ast_bad(parse, @$); }
    ;

exprs:      expr_list | expr_list ',' ;
expr_list:
      expr                                  { $$ = ast_nodes(parse, (AstList){ 0 }, $1); }
    | expr_list ',' expr                    { $$ = ast_nodes(parse, $1, $3); }
    ;

args:
      %empty                                { $$ = (ArgList){ 0 }; }
    | arg_list
    | arg_list ','
    ;
arg_list:
      arg                                   { $$ = ast_args(parse, (ArgList){ 0 }, $1); }
    | arg_list ',' arg                      { $$ = ast_args(parse, $1, $3); }
    ;
arg:
      expr                                  { $$ = ast_arg(parse, NO_NAME, NO_NAME, $1, @$); }
    | NAME '=' expr                         { $$ = ast_arg(parse, NO_NAME, ast_name_at(parse, @1), $3, @$); }
    | NAME NAME '=' expr                    { $$ = ast_arg(parse, ast_name_at(parse, @1), ast_name_at(parse, @2), $4, @$); }
    ;

label:      label_parts                     { $$ = ast_label_end(parse, $1); } ;
label_parts:
      LABEL_TEXT                            { $$ = ast_label_text(parse, NULL, @1); }
    | LABEL_OPEN expr '}'                   { $$ = ast_label_value(parse, NULL, $2, @$); }
    | LABEL_OPEN error resync '}'           { $$ = ast_label_value(parse, NULL, ast_bad(parse, @2), @$); }
    | label_parts LABEL_TEXT                { $$ = ast_label_text(parse, $1, @2); }
    | label_parts LABEL_OPEN expr '}'       { $$ = ast_label_value(parse, $1, $3, span_join(@2, @4)); }
    | label_parts LABEL_OPEN error resync '}'
                                            { $$ = ast_label_value(parse, $1, ast_bad(parse, @3), span_join(@2, @5)); }
    ;

%%

static int snet_lex(SNET_STYPE *value, Span *at, Parse *parse) {
    (void)value;
    const Token *t = &parse->tokens[parse->next];
    *at = token_span(parse, t);
    if (parse->start) {
        int start = parse->start;
        parse->start = 0;
        return start;
    }
    if (parse->resync) {
        parse->resync = false;
        return RESYNC;
    }
    parse->current = parse->next;
    if (parse->next < parse->count - 1)
        parse->next++;
    return t->kind;
}

/* Bison's own complaint: its stack is at its bound. */
static void snet_error(Span *at, Parse *parse, const char *message) {
    (void)message;
    diag_error(parse->diag, *at, "this nests too deeply");
}

static int yyreport_syntax_error(const yypcontext_t *context, Parse *parse) {
    yysymbol_kind_t expected[YYNTOKENS];
    int count = yypcontext_expected_tokens(context, expected, YYNTOKENS);
    const char *names[YYNTOKENS];
    for (int i = 0; i < count; i++)
        names[i] = yysymbol_name(expected[i]);
    parse_report(parse, names, count > 0 ? count : 0);
    parse_resync(parse);
    return 0;
}
