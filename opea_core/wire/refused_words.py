"""The words by which servers refuse a field, dislike its value, or speak of something else.

Each is looked for in one clause of a complaint; ``refused_fields`` says what it means there.
"""

from __future__ import annotations

import re

REFUSED = re.compile(
    r"(?i)\bunsupported|(\bnot|n['\u2019]t|\bnever|\bno longer"
    r"|\bonly partially) (\w+ ){0,2}?(support"
    r"|accept|allow|permit|recogni[sz]|implement|enabl|available|compatible|valid|expected\b)\w*"
    r"|\bnot[ _-]supported|\bno support\b|\bunavailable|\bincompatible|\bunrecogni[sz]ed"
    r"|\bunknown\b|\bunexpected\b|\bextra[ _](inputs?|fields?|forbidden)"
    r"|\b(is|are|was|were) (forbidden|disallowed|disabled|rejected|refused|removed|ignored"
    r"|deprecated|reserved|prohibited)"
    r"|\b(cannot|can['\u2019]t|can not|may not|must not|should not|shouldn['\u2019]t"
    r"|mustn['\u2019]t) (be )?(\w+ ){0,1}?(used|set|specified|combined|given|passed|provided|sent"
    r"|included|present|supplied|honou?red|served|produced|use|handle|take|do|process|contain|have"
    r"|include)\b"
    r"|\b(do|does|did|will|should|must) ?(not|n['\u2019]t) (\w+ ){0,2}?(take|exist|have|know"
    r"|understand|contain|match any|handle|work)|\bno such\b|\bnot (a )?(known|defined|declared"
    r"|handled|understood)"
    r"|\b(must|should|has to|needs? to|please) (be )?(remove[ds]?|omit(ted)?|unset|absent"
    r"|drop(ped)?|leave out|left out|delete[ds]?)\b|\bremove\b|\bomit\b"
    r"|\b(reject(s|ed|ing)?|refuses?|disallows?|forbids?|lacks?)\b|\binvalid (parameter|argument"
    r"|field|key|property|keyword|request argument|request parameter)s?\b"
    r"|\bdeprecated\b|\bdiscontinued\b|\bcannot find field|\bonly (allowed|available|supported"
    r"|valid|permitted|accepted|enabled) (when|with|if|for|in|on)\b"
    r"|\bswitched on\b|\bcould not be mapped|\bmutually exclusive|\bcannot both\b|\bextraneous\b"
    r"|\bnot additional|\bmust not have additional|\bdrop\b|\b(is|are|be|has"
    r"|have) (to be )?(removed|dropped|left out)|\bno place\b|\bcannot combine\b|\bnotimplemented"
    r"|\b(replaced|superseded|renamed) (by|to)\b|\binstead of\b|\btakes no\b"
    r"|\bunpermitted\b|\bunusable\b|NoAdditionalProperties"
    r"|\bnot an? (accepted|known|allowed) (key|field|name)\b"
    r"|\b(is|are) no (member|field|part|property)s?\b|\bhas no\b(?! attribute)|\bno endpoints\b"
    r"|不支持|不允许|未知参数|非支持"
)
# About a field's value: the caller should see that it is wrong (A7).
VALUE = re.compile(
    r"(?i)^\W*invalid [`'\"]\w+[`'\"]\s*:|\binvalid key\b|\b(unsupported|invalid) \w+ [\d.]+"
    r"|\b(above|below|over|under|beyond) \d|\bgreedy\b"
    r"|\brequires (temperature|top_p|logprobs|stream)\b"
    r"|\bvalue\b.{0,20}\b(is|are) not\b|\bchoose (between|a|one)\b|\bids? with\b|\bcharacters?\b"
    r"|\bspaces\b|\b\d+ bits?\b|\bBereich\b|\bkeys? [`'\"].{1,60}\bin [`'\"]"
    r"|\b(polic(y|ies)|blocked|banned|suspended|violat\w*"
    r"|moderat\w*|flagged|filtered|billing|credits?|claim)\b"
    r"|\b(must|should|has to|needs? to|have to) (be|have|contain|match"
    r"|not exceed|equal|start|end|fall|lie|not be (empty|null|negative|greater|less|more|larger"
    r"|longer|blank|zero))\b"
    r"|\bexpected\b(?! (nothing|no))|\btoo (large|long|many|high|small|low|big|short|few)\b"
    r"|\bexceed|\bout of range|\b(above|below|over) (the )?(max|min|limit)|\b(max|min)(imum"
    r"|imal)?\b"
    r"|\bat (most|least)\b|\bup to \d|\binvalid (value|type|choice|format|literal|enum|input|json"
    r"|tool)|\bnot (a|an|one of|in)\b(?! (valid |known |recogni[sz]ed |supported )?(field|param"
    r"|argument|key|propert|option|keyword))|\b(is|are) not (a )?valid\b(?! for this)"
    r"|\b(supported|allowed|valid|possible|accepted|permitted|available|known"
    r"|recogni[sz]ed) (\w+ )?(values?|options|levels|choices|types|variants|formats|tiers"
    r"|names)\b|\bone of\b"
    r"|\bunknown variant|\bunsupported (value|type|effort|level|tier|option)|\b(greater|less"
    r"|larger|smaller|longer|shorter|higher|lower|more|fewer) than\b|\bnegative\b|\bempty\b"
    r"|\bmissing\b|\brequired\b"
    r"|\bmalformed (value|json|input for)|\bwrong type|\b(but|and|,|we|:) got\b|\bgot:? ['\"`\d]"
    r"|\breceived\b|\brange\b|\bbetween\b|\bpositive\b|\binteger\b|\bunable to parse|\bparse"
    r"|\bdeserializ|\bduplicate|\bnot found\b|\bquota\b|\bunknown (value|level|effort|option"
    r"|tier)"
)
# Where only one value is taken the field is of no use, and can be left out (A7).
ONE_VALUE = re.compile(
    r"(?i)\b(must|has to|have to|should|needs? to) (be|equal|stay( at)?"
    r"|remain( at)?) ?[`'\"(]?\d+(\.\d+)?\b(?! ?(\.\.|-|characters?|tokens?|items?|%"
    r"|\d))(?!.{0,24}\b(or|to|and|at least)\b)|\bfixed (at|to)\b|\bonly (the )?(supported "
    r"|allowed |valid |possible |accepted )?(value )?(is )?:?\s*[`'\"(]?(default|1(\.0)?|0|false"
    r"|true|null|none|auto)\b"
    r"|\bonly (the )?(supported|allowed|valid|possible|accepted) value( for \S+)? is\b"
    r"|\bonly \S{1,14} (is|are) (allowed|supported|accepted|permitted|valid)"
    r"|\b(must|has to|should|needs? to) (be|equal|stay at|be set to|be exactly) ?(set to "
    r"|equal to |left at )?[`'\"(]?(1(\.0)?|0|false|true|null|none|unset|absent|omitted|removed"
    r"|empty|default|the default|its default|left out)\b(?![`'\"]?,)(?!.{0,24}\b(or|to|and"
    r"|at least)\b)|\bonly (a |an |the )?(\w+ )?(of |value )?1\b|^(input"
    r"|value) should be [`'\"]\w+[`'\"](?!,| or)"
    r"|\bonly (supports?|accepts?|allows?|takes?|works? with) (the )?[`'\"]?(default"
    r"|\w{1,24}\s?=\s?\w+|1(\.0)?\b|0\b|false|true|one\b|a single)|\b(is|are) fixed\b"
    r"|\bnot support \d"
    r"|\bn ?(>|=|!=|greater than|other than|larger than|above|more than) ?1\b"
    r"|\bmore than one (choice|completion|candidate)|\bset to (true|false|null|none|1|0)\b"
)
# A sentence that begins so still speaks of what the one before it named.
FOLLOWS = re.compile(
    r"(?i)\A\s*(supported|allowed|valid|expected|possible|accepted|permitted|it|this|value|values"
    r"|the only|only|must|should|available|please (use|choose|set))\b"
)
# From here on a clause lists what would be right, and what it names is not refused.
LISTING = re.compile(
    r"(?i)\bexpected (one of|any of|[`'\"]\w)|\b(valid|known|allowed|supported|permitted|accepted"
    r"|recogni[sz]ed|available|possible|expected|legal) (\w+ ){0,2}?"
    r"(parameters?|fields?|arguments?|keys?|properties|keywords|names|options|values|roles"
    r"|inputs)( are| is|:| here|\s*=|\s*\()|\bdid you mean\b|\bperhaps you meant\b|\bmust be (one"
    r"|any) of\b|\bone of:?\s"
    r"|\bsimilar (field|parameter|name)|\bchoose (from|among|one)|\bknown:|\bsupported:"
    r"|\bsupported are\b|\ballowed:|\bexpects?:|\bsimilar\b.{0,20}:"
)
# In a schema or a URL the same names stand for other things.
SCHEMAS = re.compile(
    r"(?i)\bquery param|\bin the url\b|\bheaders?\b|\b(invalid|bad|wrong|malformed|illegal|broken"
    r"|compil\w*|pars\w+|convert\w*|build\w*|process\w*|your"
    r"|unsupported) (\w+ )?(json[ _]?)?schema|schema (for|of|in|compil|error|valid|is not)"
    r"|in context ?[=:]|input_?schema|parameters[./]properties"
    r"|\bproperties\b['\"`]?[\]).,/]|json_schema[./]schema|\bgrammar (compil|error|pars)"
    r"|schema contains|schema uses|keyword(?!s? arg)"
)
WITH = re.compile(
    r"(?i)\b(with|when|while|if|for|because|as|since|unless|without|together|alongside"
    r"|in combination|besides?|by|at|on|use[sd]?|using)\b"
)
END = re.compile(r"; (?!use)|[^`'\"\])\s]\s*:\s")
CONDITION = re.compile(
    r"(?i)\bgreedy\b|\bwhen temperature is"
    r"|\b(unknown|invalid|unexpected) keys? [`'\"].{1,60}\bin [`'\"]"
    r"|\bunexpected value\b|\bby (this|the|your) (tool|function)\b"
)
"""Words about what a field holds, or about the caller's own names, whatever else is said."""
STRANGE = re.compile(
    r"(?i)\b(unknown|unrecogni[sz]ed|unexpected|extra|extraneous|unsupported|undefined"
    r"|additional) (\w+ )?(fields?|names?|param\w*|arguments?|keys?|propert\w+|keywords?|inputs?"
    r"|options?)\b(\(s\))?(?! (value|type|'?\w+'? for))"
    r"|\b(field|name|param\w*|argument|key|property|option)s?"
    r" (is|was|are|were) not (expected|known|allowed|accepted)\b"
    r"|\bnot an? (accepted|known|allowed) (key|field|name)\b"
)
"""Words of servers that do not know a field at all."""
# The field works, or does nothing: it may stay.
STILL = re.compile(
    r"(?i)\b(still|keeps?|both) (\w+ )?(work|accept|support|valid)|\bwill be removed\b"
    r"|\bno effect\b|(?<!be )\bhonou?red\b|\b(is|was"
    r"|were|are) ignored\b"
)
# Any "no", as servers also speak German, French, Spanish, Portuguese, Chinese and Japanese.
NEGATED = re.compile(
    r"(?i)\b(no|not|nor|never|nothing|none|without|cannot|neither)\b|n['\u2019]t\b|\b(un"
    r"|dis)(usable|supported|known|expected|specified|permitted|available|declared|allowed|abled)"
    r"|\b(superfluous|surplus|foreign|forbidden|absent|retired|locked|off limits|switched off"
    r"|turned (away|off)|left out|left unset|missing from|in place of|instead of"
    r"|exclude each other|stray|alien|refused)\b"
    r"|\b(must|has to|needs to|should|please|to) (be )?(go|removed?|dropped|drop|leave|left)\b"
    r"|\b(remove|omit|drop|unset)\b|\bonly\b|\bthing of the past\b"
    r"|\b(nicht|kein\w*|unbekannt\w*|pas|aucun\w*|inconnu\w*|no (se )?(admite|soporta|reconoce)"
    r"|desconocid\w*|não|non)\b|不|未|暂|去掉|無|ない|ません"
)
# A server that fell over something says nothing about what it takes.
CRASH = re.compile(
    r"(?i)\bunmarshal|cannot invoke|has no attribute|\bis not (subscriptable|callable|iterable"
    r"|defined)|NullPointer|check failed|\b(column|relation|table) |\bdied\b|\braw="
    r"|\bfailed to log"
    r"|tool call validation|failed to call a function|\bthe model (gave|generated|produced|wrote)"
    r"|\b(can['\u2019]t|cannot|must not) be 0\b|: 0 would"
)
# About accounts, limits and crashes, where a field is only named in passing.
IN_PASSING = re.compile(
    r"(?i)\b(tool|function) (call|plan)|\b(the model|assistant) (gave|wrote|made|produced|called)"
    r"|\bfailed to (log|call|parse|write|store)|\b(column|relation|table|worker|thread|kernel|log"
    r"|logs|logged|logging|upstream closed|died|crash\w*|retry|try again|try once)\b"
    r"|\binstances?\b|\btrace(back)?\b|\bstack\b|\bconnection\b|\b(your|the) (account"
    r"|organi[sz]ation|project|key|plan|tier|subscription)\b|\bquota\b|\blimit\b"
)
MODEL = re.compile(r"(?i)\bmodel(s| family| name| id)? ?[`'\"]?[\w.-]*/?$")
BETWEEN = " \t\n`'\",/&*()[]:"
IS_VALUE = re.compile(
    r"\A[`'\"]?\s+[`'\"]?(?!(is|are|was|were|has|have|not|cannot|can|may|must|should|will|does|do"
    r"|isn|aren|param\w*|fields?|arguments?|options?|propert\w+|settings?|sampling|currently|also"
    r"|set|tools?|functions?|schemas?|mode)\b)[\w.@-]+[`'\"]?\s*"
)
"""A word of its own between a name and "not supported": the value that is not."""
MUST_GO = (
    r"(?:must|has to|should) (?:not be (?:sent|set|given|present|included)"
    r"|be (?:removed|omitted|dropped|absent|unset))\b"
)
COLON = re.compile(r":\s*[`'\"\[(]*$")
