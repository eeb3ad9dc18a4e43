"""CWE → the OWASP cheat sheet that says how to write it instead.

Names are those of the index of the OWASP Cheat Sheet Series (https://cheatsheetseries.owasp.org/Glossary.html;
``Index.md`` of github.com/OWASP/CheatSheetSeries). Which sheet fits a weakness is our reading: the one whose subject
the weakness is, never one that merely mentions it. A weakness without a sheet is linked to its page at MITRE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_SHEETS = "https://cheatsheetseries.owasp.org/cheatsheets/{}_Cheat_Sheet.html"
_MITRE = "https://cwe.mitre.org/data/definitions/{}.html"
_CWE = re.compile(r"CWE-0*([1-9][0-9]{0,5})(?![0-9])", re.IGNORECASE)

#: By the name in the address, the numbers of the weaknesses it is about.
SHEETS: Mapping[str, tuple[int, ...]] = {
    "Injection_Prevention": (74, 75, 88, 91, 93, 94, 95, 96, 113, 116, 917, 1336),
    "OS_Command_Injection_Defense": (77, 78),
    "Cross_Site_Scripting_Prevention": (79, 80, 81, 83, 85, 86, 87),
    "SQL_Injection_Prevention": (89, 564),
    "LDAP_Injection_Prevention": (90,),
    "NoSQL_Security": (943,),
    "Input_Validation": (20, 22, 23, 35, 36, 73, 129, 185, 625, 1284, 1286, 1287, 1333),
    "Error_Handling": (209, 248, 252, 390, 391, 396, 703, 754, 755),
    "Logging": (117, 532, 778),
    "Secrets_Management": (259, 321, 522, 540, 547, 615, 798),
    "Access_Control": (250, 269, 276, 284, 732),
    "Authorization": (285, 862, 863),
    "Insecure_Direct_Object_Reference_Prevention": (639,),
    "Authentication": (287, 306, 307, 521),
    "Transport_Layer_Security": (295, 296, 297, 298, 299, 311, 319, 523, 599),
    "Cryptographic_Storage": (261, 312, 325, 326, 327, 328, 330, 331, 335, 338, 347, 354, 780),
    "Key_Management": (320, 322, 324),
    "Password_Storage": (256, 257, 759, 760, 916),
    "HTTP_Headers": (346, 693, 942),
    "Content_Security_Policy": (1021,),
    "Session_Management": (384, 539, 613, 614, 1004, 1275),
    "Cross-Site_Request_Forgery_Prevention": (352,),
    "Denial_of_Service": (400, 409, 606, 674, 770, 789),
    "File_Upload": (434,),
    "Infrastructure_as_Code_Security": (1188,),
    "Software_Supply_Chain_Security": (494, 829, 1357),
    "Deserialization": (502,),
    "Unvalidated_Redirects_and_Forwards": (601,),
    "XML_External_Entity_Prevention": (611, 827),
    "XML_Security": (112, 643, 776),
    "Mass_Assignment": (915,),
    "Server_Side_Request_Forgery_Prevention": (441, 918),
    "Vulnerable_Dependency_Management": (937, 1035, 1104, 1395),
    "Prototype_Pollution_Prevention": (1321,),
    "JSON_Web_Token": (345,),
}
_BY_NUMBER = {number: sheet for sheet, numbers in SHEETS.items() for number in numbers}


def cwe_numbers(word: str | None) -> list[int]:
    """The numbers of ``CWE-79 CWE-089``, each once; of anything else none."""
    return list(dict.fromkeys(int(n) for n in _CWE.findall(word or "")))


def sheet_of(number: int) -> tuple[str, str]:
    """(name for people, address) of what to read about a weakness."""
    sheet = _BY_NUMBER.get(number)
    if sheet is None:
        return f"CWE-{number} at MITRE", _MITRE.format(number)
    return f"OWASP: {sheet.replace('_', ' ')}", _SHEETS.format(sheet)
