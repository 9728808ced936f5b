# cmake -DFOLDER=... -DOUT=... -P embed.cmake: the page's template, style and script as string constants in a header.
file(READ ${FOLDER}/report.html html)
file(READ ${FOLDER}/report.css css)
file(READ ${FOLDER}/report.js js)
file(WRITE ${OUT}.tmp "#pragma once
inline constexpr char kReportHtml[] = R\"PSRES(${html})PSRES\";
inline constexpr char kReportCss[] = R\"PSRES(${css})PSRES\";
inline constexpr char kReportJs[] = R\"PSRES(${js})PSRES\";
")
file(RENAME ${OUT}.tmp ${OUT})
