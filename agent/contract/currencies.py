"""Currencies by their ISO 4217 number: alphabetic code and number of decimals. Pure.

Source: ISO 4217:2015 list one (number, alphabetic code, minor unit). Funds codes and metals are left out; an
unknown number is never given a guessed exponent.
"""

from __future__ import annotations

_TWO_DECIMALS = """
008 ALL 012 DZD 032 ARS 036 AUD 044 BSD 050 BDT 051 AMD 052 BBD 060 BMD 064 BTN 068 BOB 072 BWP 084 BZD 090 SBD
096 BND 104 MMK 116 KHR 124 CAD 132 CVE 136 KYD 144 LKR 156 CNY 170 COP 188 CRC 192 CUP 203 CZK 208 DKK 214 DOP
222 SVC 230 ETB 232 ERN 238 FKP 242 FJD 270 GMD 292 GIP 320 GTQ 328 GYD 332 HTG 340 HNL 344 HKD 348 HUF 356 INR
360 IDR 364 IRR 376 ILS 388 JMD 398 KZT 404 KES 408 KPW 417 KGS 418 LAK 422 LBP 426 LSL 430 LRD 446 MOP 454 MWK
458 MYR 462 MVR 480 MUR 484 MXN 496 MNT 498 MDL 504 MAD 516 NAD 524 NPR 532 ANG 533 AWG 554 NZD 558 NIO 566 NGN
578 NOK 586 PKR 590 PAB 598 PGK 604 PEN 608 PHP 634 QAR 643 RUB 654 SHP 682 SAR 690 SCR 702 SGD 706 SOS 710 ZAR
728 SSP 748 SZL 752 SEK 756 CHF 760 SYP 764 THB 776 TOP 780 TTD 784 AED 807 MKD 818 EGP 826 GBP 834 TZS 840 USD
858 UYU 860 UZS 882 WST 886 YER 901 TWD 925 SLE 926 VED 928 VES 929 MRU 930 STN 933 BYN 934 TMT 936 GHS 938 SDG
941 RSD 943 MZN 944 AZN 946 RON 949 TRY 951 XCD 967 ZMW 968 SRD 969 MGA 971 AFN 972 TJS 973 AOA 975 BGN 976 CDF
977 BAM 978 EUR 980 UAH 981 GEL 985 PLN 986 BRL
"""
_OTHER_DECIMALS = {
    0: """108 BIF 152 CLP 174 KMF 262 DJF 324 GNF 352 ISK 392 JPY 410 KRW 548 VUV 600 PYG 646 RWF 704 VND 800 UGX
          940 UYI 950 XAF 952 XOF 953 XPF""",
    3: "048 BHD 368 IQD 400 JOD 414 KWD 434 LYD 512 OMR 788 TND",
    4: "927 UYW 990 CLF",
}


def _listed(text: str, decimals: int) -> dict[str, tuple[str, int]]:
    words = text.split()
    return {number: (name, decimals) for number, name in zip(words[::2], words[1::2], strict=True)}


CURRENCIES: dict[str, tuple[str, int]] = _listed(_TWO_DECIMALS, 2)
for _decimals, _text in _OTHER_DECIMALS.items():
    CURRENCIES.update(_listed(_text, _decimals))


def decimal_text(amount_minor: int, currency: str | None) -> str | None:
    """``decimal_text(1234567, "156")`` is ``12345.67``; None where the number of decimals is not known.

    Args:
        amount_minor: Integer, may be negative.
        currency: ISO 4217 number as three digits of text.
    """
    if currency not in CURRENCIES:
        return None
    _name, decimals = CURRENCIES[currency]
    whole, part = divmod(abs(amount_minor), 10**decimals)
    return f"{'-' if amount_minor < 0 else ''}{whole}" + (f".{part:0{decimals}d}" if decimals else "")
